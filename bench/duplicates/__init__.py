"""How well texts that read like an earlier one are found, what is taken for such wrongly, and how long a look-up takes.

    python -m bench duplicates            all texts, a corpus of up to a hundred thousand; minutes
    python -m bench duplicates --quick    a part of each; under two minutes, the same code

All of it through the Datanet's own code over SQLite (`corpus.py`), as uploads are judged and taken.

- Recall: of texts of each source (the HPO's definitions; docstrings of sixteen projects), variants (`made.py`) are
  compared with all texts there are; found is one that reads like any earlier text.  Words are what blanks part; those
  that are put in are drawn from the source's own, each as likely.  `dup_recall_30`: of variants with 10, 20 and 30 % of
  the words exchanged, left out or put in, the mean over all, of the source with the least; `dup_recall_30_least`: of
  the variant with the least.  Texts of at least eight words: what is below is like the same words alone.
- False positives, `dup_fpr`: of texts that nobody copied, the share refused for reading like another author's: of each
  project's docstrings, given one project after the other, and of the HPO's definitions and of short answers
  (chatterbot) after those.  Some of them are not false: projects do copy each other's docstrings.
- `hpo_twins`: the share of the HPO's definitions that are refused where its curators are the authors.  They use the
  same sentence about another finger; nothing tells such a twin from a copy with a word exchanged.
- `hpo_joined`, `hpo_third` and the like: of what is not looked for, how much is found all the same.
- Growth: sentences of 18 made words, as frequent as words are (Zipf), up to a hundred thousand; then look-ups of new
  ones and of variants with 30 % of the words exchanged.  `lookup_ms_a_tenfold_below`, `_above`: the milliseconds that a
  look-up takes longer with ten times as many records, up to the middle size and from there on; where the second is no
  more than the first, the time grows no faster than the logarithm of the corpus.  `taken_a_second`: records that are
  taken, of uploads of a thousand, one after the other, where they are compared with nothing.

What is not measured: a corpus of a million, which takes some twenty minutes to fill; paraphrases by people, and
translations, which are not found.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bench import result
from bench.duplicates.corpus import Corpus, corpus
from bench.duplicates.made import VARIANTS, exchanged
from bench.lds import docstrings
from openledger import clusters
from openledger.cli.demo import hpo
from services.factory.evaluation import trivia

SEED = 1
SIZES, QUICK_SIZES = (10_000, 30_000, 100_000), (1_000, 3_000, 10_000)
_WORDS, _LENGTH = 60_000, 18
_AT_MOST_30 = [name for name in VARIANTS if name.startswith(("edited", "exchanged")) and int(name[-2:]) <= 30]


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/duplicates.json, or duplicates-quick.json."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    of_projects = {project.name: docstrings.paragraphs(project) for project in docstrings.PROJECTS}
    definitions = list(hpo.definitions())
    if quick:
        of_projects = {name: texts[::8] for name, texts in of_projects.items()}
        definitions = definitions[: len(definitions) // 8]
    of_hpo = [definition.text for _, definition in definitions]
    with corpus() as here:
        rows += unrelated(here, of_projects | {"trivia": short_answers(), "hpo": of_hpo})
        figures["dup_fpr"] = _share(sum(row["refused"] for row in rows), sum(row["texts"] for row in rows))
        sources = {"hpo": of_hpo, "docstrings": list(itertools.chain.from_iterable(of_projects.values()))}
        found = [row for name, texts in sources.items() for row in recall(here, name, texts, 150 if quick else 500)]
    edits = {
        name: [r["recall"] for r in found if r["source"] == name and r["variant"] in _AT_MOST_30] for name in sources
    }
    figures["dup_recall_30"] = round(min(sum(recalls) / len(recalls) for recalls in edits.values()), 5)
    figures["dup_recall_30_least"] = min(map(min, edits.values()))
    figures |= {f"{row['source']}_{row['variant']}": row["recall"] for row in found}
    figures["hpo_twins"] = twins(definitions)
    grown = growth(QUICK_SIZES if quick else SIZES, 100 if quick else 500)
    figures |= {f"lookup_ms_{row['records']}": row["ms"] for row in grown}
    figures["taken_a_second"] = grown[-1]["taken_a_second"]
    middle = len(grown) // 2
    figures["lookup_ms_a_tenfold_below"] = _a_tenfold(grown[0], grown[middle])
    figures["lookup_ms_a_tenfold_above"] = _a_tenfold(grown[middle], grown[-1])
    settings = {
        "quick": quick,
        "hpo": len(of_hpo),
        "docstrings": sum(map(len, of_projects.values())),
        "database": "sqlite",
    }
    name = "duplicates-quick" if quick else "duplicates"
    print(result.write(name, figures, seed=SEED, settings=settings, rows=[*rows, *found, *grown]))


def short_answers() -> list[str]:
    """Of questions of general knowledge."""
    return list(dict.fromkeys(question.answer for question in trivia.questions(10_000)))


def unrelated(here: Corpus, sources: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A row a source, which is an author: how many of its texts are refused after those of the sources before."""
    rows = []
    for name, texts in sources.items():
        refused = here.give(name, texts)
        rows.append({"author": name, "texts": len(texts), "refused": len(refused)})
        _tell(str(rows[-1]))
        here.give(name, [texts[place] for place in refused], strict=False)
    return rows


def recall(here: Corpus, source: str, texts: Sequence[str], count: int) -> list[dict[str, Any]]:
    """A row a variant: the share that is found, of texts that can be like another at all; and the median of words."""
    rng = random.Random(SEED)
    words = sorted({word for text in texts for word in text.split() if len(clusters.words(word)) == 1})
    long = [text for text in texts if len(clusters.words(text)) >= clusters.FEWEST_WORDS]
    chosen = rng.sample(long, min(count, len(long)))
    median = float(np.median([len(clusters.words(text)) for text in chosen]))
    rows = []
    for name, vary in VARIANTS.items():
        found = _found(here, [vary(text, rng, words) for text in chosen])
        rows.append({"source": source, "variant": name, "texts": len(chosen), "words": median, "recall": found})
        _tell(str(rows[-1]))
    return rows


def twins(definitions: Sequence[tuple[str, hpo.Definition]]) -> float:
    """The share of definitions refused for another curator's, in the order of the ontology."""
    refused = 0
    with corpus() as here:
        for curator, theirs in itertools.groupby(definitions, key=lambda pair: pair[0]):
            refused += len(here.give(curator, [definition.text for _, definition in theirs]))
    _tell(f"hpo: {refused} of {len(definitions)} definitions are like another curator's")
    return _share(refused, len(definitions))


def growth(sizes: Sequence[int], count: int) -> list[dict[str, Any]]:
    """A row a size: milliseconds and postings a look-up of new sentences and of variants, and the variants' recall."""
    rows, rng, made = [], random.Random(SEED), sentences()
    given: list[str] = []
    vary = exchanged(0.3)
    with corpus() as here:
        for size in sizes:
            taken, taking = len(given), here.taking
            while len(given) < size:
                more = list(itertools.islice(made, min(5_000, size - len(given))))
                here.give("somebody", more, strict=False)
                given += more
            taking = here.taking - taking
            new = list(itertools.islice(made, count))
            variants = [vary(text, rng, new[0].split()) for text in rng.sample(given, count)]
            asked = here.candidates([*new, *variants])
            seconds = min(_seconds(lambda a=asked: here.found(a)) for _ in range(3))  # type: ignore[misc]
            rows.append(
                {
                    "records": size,
                    "ms": round(1000 * seconds / len(asked), 3),
                    "postings": round(here.postings(asked) / len(asked), 1),
                    "recall": _found(here, variants),
                    "new_refused": here.found(asked[:count]),
                    "taken_a_second": round((size - taken) / taking),
                }
            )
            _tell(str(rows[-1]))
    return rows


def _a_tenfold(less: dict[str, Any], more: dict[str, Any]) -> float:
    return round((more["ms"] - less["ms"]) / math.log10(more["records"] / less["records"]), 4)


def sentences() -> Iterator[str]:
    """Of made words, as frequent as words are; without end."""
    rng = np.random.default_rng(SEED)
    frequency = 1 / np.arange(1, _WORDS + 1)
    while True:
        for drawn in rng.choice(_WORDS, (10_000, _LENGTH), p=frequency / frequency.sum()).tolist():
            yield " ".join(f"w{word}" for word in drawn)


def _found(here: Corpus, texts: Sequence[str]) -> float:
    return _share(here.found(here.candidates(texts)), len(texts))


def _share(part: int, whole: int) -> float:
    return round(part / whole, 5)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
