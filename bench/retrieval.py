"""Whom records before a question pay: the one that answers it, irrelevant ones, and who would be paid for nothing.

    python -m bench retrieval            SmolLM2 on definitions of the HPO, minutes
    python -m bench retrieval --quick    two questions

"What does the term ... mean?" is asked with the term's definition among three others that have nothing to do with it,
each by somebody else; the base model answers, and the answer is measured as receipts are.  Then the same answer with
one change: somebody adds a copy of the definition, or says it in other words; splits it in two accounts; floods the
prompt with irrelevant records.  `share` figures are parts of the records' money, all questions' together; gains are pay
after over pay before.  Nothing is tuned here, so the base model's own losses are what is taken apart.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import result
from bench.attacks.texts import edited, paraphrased
from openledger import base_models, clusters, evidence, split
from openledger.cli.demo import hpo
from openledger.context import Context
from openledger.influence.gradient import Scorer
from openledger.split import Evidence, Rule
from openledger.trace import Trace
from services.openlora.engine import ChatMessage
from services.openlora.engine_text import TextCodec
from tests.context_world import Snapshot

AUTHOR, ATTACKER, SECOND = "0x" + "a" * 40, "0x" + "e" * 40, "0x" + "f" * 40
IRRELEVANT = 3
FLOOD = 4
MONEY = 10**18
Said = tuple[str, str]
"""Whose, and what."""


@dataclass(frozen=True)
class Setting:
    """How much is measured."""

    questions: int = 6
    tokens: int = 48
    base: str = "smollm2-135m-instruct"
    seed: int = 0


QUICK = Setting(questions=2, tokens=12)


@dataclass(frozen=True)
class Case:
    """A question, whose record answers it, others that do not, and the answer's tokens."""

    term: str
    right: Said
    others: tuple[Said, ...]
    more: tuple[str, ...]
    """Other irrelevant texts."""
    answer: tuple[int, ...] = ()

    @property
    def question(self) -> str:
        """What is asked."""
        return f"What does the term {self.term!r} mean?"

    @property
    def records(self) -> tuple[Said, ...]:
        """The right one is second."""
        return (self.others[0], self.right, *self.others[1:])


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/retrieval.json, or retrieval-quick.json."""
    setting = QUICK if quick else Setting()
    rows = measure(setting)
    name = "retrieval-quick" if quick else "retrieval"
    print(result.write(name, figures(rows), seed=setting.seed, settings=asdict(setting), rows=rows))


def measure(setting: Setting) -> list[dict[str, Any]]:
    """A row a question."""
    base = base_models.locate(setting.base)
    asked = answered(base, cases(setting), setting.tokens)
    scorer, codec, rows = Scorer(base), TextCodec(base), []
    for case in asked:
        rows.append(row(Bench(scorer, codec, case)))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def cases(setting: Setting) -> list[Case]:
    """Terms of different curators, with others' definitions beside them."""
    corpus = hpo.load(12, max(4, setting.questions // 8), held_out=2, seed=setting.seed)
    draw = random.Random(setting.seed)
    everything = [definition for curator in corpus.curators for definition in curator.definitions]
    draw.shuffle(everything)
    found = []
    for right in everything[: setting.questions]:
        drawn = [said(right), *(said(other) for other in draw.sample(everything, 4 * (IRRELEVANT + FLOOD)))]
        firsts = clusters.first(drawn)  # definitions of kindred terms are alike, and would be credited to one
        texts = [text for place, text in enumerate(drawn) if place and firsts[place] == place and text != drawn[0]]
        others = tuple((f"0x{number:040x}", text) for number, text in enumerate(texts[:IRRELEVANT], start=1))
        found.append(Case(right.term, (AUTHOR, said(right)), others, tuple(texts[IRRELEVANT : IRRELEVANT + FLOOD])))
    return found


def said(definition: hpo.Definition) -> str:
    """A record's text."""
    return f"{definition.term}: {definition.text}"


def answered(base: Path, found: Sequence[Case], tokens: int) -> list[Case]:
    """The same with greedy answers of the base model, to the question with its records."""
    import torch
    from transformers import AutoModelForCausalLM

    codec, model = TextCodec(base), AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    made = []
    for case in found:
        _, prompt = laid(codec, case, case.records)
        with torch.no_grad():
            whole = model.generate(torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False)
        made.append(replace(case, answer=tuple(whole[0, len(prompt) :].tolist())))
    return made


def laid(codec: TextCodec, case: Case, records: Sequence[Said]) -> tuple[Context, tuple[int, ...]]:
    """The question's prompt with records before it, as OpenLoRA makes it."""
    snapshot = Snapshot.of(records)
    proven = [(snapshot.record(leaf), snapshot.root) for leaf in range(len(records))]
    before, after = codec.around([ChatMessage("user", case.question)])
    context, tokens = Context.lay(before, proven, codec.encode)
    return context, (*tokens, *after)


@dataclass(frozen=True)
class Bench:
    """One answer, measured with any records before its question."""

    scorer: Scorer
    codec: TextCodec
    case: Case

    def evidence(self, records: Sequence[Said]) -> Evidence:
        """As it would stand in a receipt."""
        context, prompt = laid(self.codec, self.case, records)
        trace = Trace(
            response="responses/bench", base="bench", base_sha256="", adapter="", prompt_token_ids=prompt,
            completion_token_ids=self.case.answer, sampling={}, finish_reason="length", payer="", lease="", fee=0,
            platform_fee=0, start_time="", end_time="", engine="", context=context,
        )  # fmt: skip
        context.check(prompt)
        return evidence.measure(self.scorer, trace, None, None)


def paid(measured: Evidence) -> dict[str, float]:
    """Each contributor's part of the records' money."""
    shares = split.retrieved(MONEY, measured, Rule())
    return {who: amount / MONEY for key, amount in shares.items() if (who := split.payee(key))}


def row(bench: Bench) -> dict[str, Any]:
    """What is found for one question."""
    case = bench.case
    measured = bench.evidence(case.records)
    assert measured.retrieval
    honest, parts = paid(measured), split.divide(MONEY, measured)
    irrelevant = [honest.get(who, 0.0) for who, _ in case.others]
    scores = measured.retrieval.scores
    found: dict[str, Any] = {
        "term": case.term,
        "answer": bench.codec.answer(case.answer),
        "gain_nats": (measured.retrieval.nll_model - measured.nll_model) / split.NAT,
        "score_nats": {"right": scores[AUTHOR] / split.NAT}
        | {str(n): scores[who] / split.NAT for n, (who, _) in enumerate(case.others)},
        "first": max(scores, key=lambda who: scores[who]) == AUTHOR,
        "of_pool": parts.get(split.RETRIEVAL, 0) / MONEY,
        "right": honest.get(AUTHOR, 0.0),
        "irrelevant": irrelevant,
        "nobody": 1 - sum(honest.values()),
    }
    for name, records in attacks(case):
        after = paid(bench.evidence(records))
        found[name] = {"attacker": after.get(ATTACKER, 0.0) + after.get(SECOND, 0.0), "author": after.get(AUTHOR, 0.0)}
    return found


def attacks(case: Case) -> Iterator[tuple[str, Sequence[Said]]]:
    """Records as somebody would like them to be."""
    text, words = case.right[1], " ".join(case.more).split()
    yield "copy", (*case.records, (ATTACKER, edited(text, 0.2, words, 0)))
    yield "paraphrase", (*case.records, (ATTACKER, paraphrased(text)))
    said = text.split(" ")
    halves = ((ATTACKER, " ".join(said[: len(said) // 2])), (SECOND, " ".join(said[len(said) // 2 :])))
    place = case.records.index(case.right)
    yield "split", (*case.records[:place], *halves, *case.records[place + 1 :])
    yield "flood", (*case.records, *((ATTACKER, other) for other in case.more))


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Parts of the records' money of all questions together, were each answered for the same pool."""
    money = sum(row["of_pool"] for row in rows)

    def part(shares: Sequence[float]) -> float:
        """The records' money is as before an attack: whoever is paid from it is what is looked at."""
        return round(sum(row["of_pool"] * share for row, share in zip(rows, shares, strict=True)) / money, 4)

    def attacked(name: str, whose: str) -> float:
        return part([row[name][whose] for row in rows])

    right = part([row["right"] for row in rows])
    return {
        "questions": len(rows),
        "top1": round(statistics.mean(row["first"] for row in rows), 3),
        "records_of_pool": round(money / len(rows), 4),
        "right_share": right,
        "irrelevant_share": part([statistics.mean(row["irrelevant"]) for row in rows]),
        "nobody_share": part([row["nobody"] for row in rows]),
        "copy_share": attacked("copy", "attacker"),
        "paraphrase_share": attacked("paraphrase", "attacker"),
        "paraphrase_author_share": attacked("paraphrase", "author"),
        "split_gain": round(attacked("split", "attacker") / right, 3),
        "flood_share": attacked("flood", "attacker"),
        "flood_author_share": attacked("flood", "author"),
    }
