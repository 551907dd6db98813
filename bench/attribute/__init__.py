"""What attribution costs, against the answers that it is about, and how that grows.

    python -m bench attribute            about 17 minutes; wants a machine that does nothing else
    python -m bench attribute --quick    about a minute, the same code

`cpu_ratio` is the CPU time of scoring divided by that of generating the same answers, on the engine that serves them.
An answer is cheapest when others are generated with it: that ratio, the worse one, is the figure, and the other one is
beside it. Rows say the rest: from an answer's end to its receipt; what scoring is made of; what it costs with many
contributors, with records before the question, with many models, and in memory. Adapters are random, for costs do not
depend on numbers (`models.py`).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import result
from bench.attribute import latency
from bench.attribute.answers import Answer, adapter, engine, generate
from bench.attribute.models import Publisher
from bench.attribute.scoring import Scoring, anonymous_mb, median_ms
from bench.records import scan as ranked
from openledger.artifacts import ArtifactStore
from services.kit import logs

WARM_UP = 2
TOGETHER = 8
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Setting:
    """How much is measured."""

    answers: int = 24
    tokens: int = 96
    receipts: int = 48
    contributors: tuple[int, ...] = (10, 100, 1_000, 10_000)
    models: tuple[tuple[int, int], ...] = ((1, 8), (8, 8), (64, 8), (64, 64))
    """Models in turn, and how many of them the service keeps open (8 unless told otherwise)."""
    records: tuple[int, ...] = (0, 1, 2, 4, 8)
    """Before a question, each of another contributor."""
    trained_on: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Records, of which a receipt reads none; that are ranked when somebody asks which mattered."""
    trained_by: int = 16
    base: str = "smollm2-135m-instruct"
    engine: str = "vllm"


QUICK = Setting(
    answers=8, tokens=16, receipts=8, contributors=(10, 100), models=((2, 1),), records=(0, 2), trained_on=(1_000,)
)


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/attribute.json, or attribute-quick.json."""
    logs.configure("error")
    setting = QUICK if quick else Setting()
    with tempfile.TemporaryDirectory(prefix="openledger-bench-") as folder:
        rows = asyncio.run(measure(setting, Path(folder)))
    name = "attribute-quick" if quick else "attribute"
    print(result.write(name, figures(rows), seed=0, settings=asdict(setting), rows=rows))


async def measure(setting: Setting, folder: Path) -> Rows:
    """All rows.  `folder` (TMPDIR) holds what is published: 11 GB at 10,000 contributors, which must not be memory."""
    store = ArtifactStore(folder / "artifacts")
    store.root.mkdir(parents=True)
    publisher = Publisher(store, setting.base)
    revision = publisher.publish(0, setting.trained_by)
    answered, rows = await _serving(setting, folder, revision)
    scoring = Scoring(store, setting.base, folder / "scoring")
    scoring.seconds(answered[1][0][:WARM_UP], revision)
    for at_once, (answers, generation) in answered.items():
        rows.append(ratio_row(at_once, answers, generation, sum(scoring.seconds(answers, revision))))
    some = answered[1][0]
    rows.append({"kind": "parts", "cpu_ms": scoring.parts(some[:8], revision)})
    for count in setting.contributors:
        rows.append(contributors_row(publisher, scoring, some, count))
    rows += [records_row(scoring, some[:4], revision, count) for count in setting.records]
    rows += [{"kind": "trained_on", **ranked(count)} for count in setting.trained_on]
    del scoring
    revisions = [revision] + [publisher.publish(n, setting.trained_by) for n in range(1, max(setting.models)[0])]
    for count, keep in setting.models:
        fresh = Scoring(store, setting.base, folder / "scoring", keep=keep)
        rows.append(models_row(fresh, some[0], revisions[:count], keep))
    for row in rows:
        print(row, file=sys.stderr, flush=True)
    return rows


async def _serving(setting: Setting, folder: Path, revision: str) -> tuple[dict[int, tuple[list[Answer], float]], Rows]:
    """Answers and their CPU seconds by how many were generated at a time; and how long receipts took."""
    async with engine(setting.engine, setting.base) as serving:
        tuned = adapter(ArtifactStore(folder / "artifacts"), revision, folder / "openlora" / "adapters")
        await generate(serving, tuned, TOGETHER, setting.tokens, TOGETHER)
        answered = {n: await generate(serving, tuned, setting.answers, setting.tokens, n) for n in (1, TOGETHER)}
        async with latency.services(folder, setting.base, serving, revision, setting.tokens) as services:
            await services.receipts(WARM_UP, WARM_UP)
            taken = {n: await services.receipts(setting.receipts, n) for n in (1, TOGETHER)}
    rows: Rows = [
        {"kind": "receipt", "at_once": n, "answers": len(seconds)} | latency.quantiles(seconds)
        for n, seconds in taken.items()
    ]
    return answered, rows


def ratio_row(at_once: int, answers: list[Answer], generation: float, scoring: float) -> dict[str, Any]:
    """CPU seconds of generating and of scoring the same answers."""
    return {
        "kind": "ratio",
        "at_once": at_once,
        "answers": len(answers),
        "prompt_tokens": statistics.mean(len(a.prompt) for a in answers),
        "answer_tokens": statistics.mean(len(a.completion) for a in answers),
        "generation_cpu_s": round(generation, 2),
        "scoring_cpu_s": round(scoring, 2),
        "ratio": round(scoring / generation, 3),
    }


def contributors_row(publisher: Publisher, scoring: Scoring, answers: list[Answer], count: int) -> dict[str, Any]:
    """A model of that many contributors: opened, then asked for receipts."""
    revision, before = publisher.publish(count, count), anonymous_mb()
    opening, document = scoring.one(answers[0], revision)
    taken = scoring.seconds(answers[:4], revision)
    return {
        "kind": "contributors",
        "contributors": count,
        "first_cpu_ms": median_ms([opening]),
        "cpu_ms": median_ms(taken),
        "products_cpu_ms": scoring.parts(answers[:2], revision)["products with the vectors"],
        "receipt_kb": round(len(document) / 1024, 1),
        "memory_mb": round(anonymous_mb() - before, 1),
    }


def records_row(scoring: Scoring, answers: list[Answer], revision: str, count: int) -> dict[str, Any]:
    """Receipts of answers to questions with records, each of another contributor: one more forward pass for each."""
    taken = [scoring.one(answer, revision, count) for answer in answers]
    return {
        "kind": "records",
        "records": count,
        "contributors": len(json.loads(taken[0][1]).get("retrieval", {"scores": ()})["scores"]),
        "prompt_tokens": statistics.mean(len(scoring.trace(a, revision, count).prompt_token_ids) for a in answers),
        "cpu_ms": median_ms([seconds for seconds, _ in taken]),
        "receipt_kb": round(len(taken[0][1]) / 1024, 1),
    }


def models_row(scoring: Scoring, answer: Answer, revisions: list[str], keep: int) -> dict[str, Any]:
    """Models that take turns, the second time round: every one was open before, and still is if `keep` allows."""
    before = anonymous_mb()
    first = [scoring.one(answer, revision)[0] for revision in revisions]
    again = [scoring.one(answer, revision)[0] for revision in revisions]
    return {
        "kind": "models",
        "models": len(revisions),
        "kept_open": keep,
        "first_cpu_ms": median_ms(first),
        "cpu_ms": median_ms(again),
        "memory_mb": round(anonymous_mb() - before, 1),
    }


def figures(rows: Rows) -> dict[str, float]:
    """The worse of each pair under the plain name, the answers of one person at a time beside it."""
    ratio = {row["at_once"]: row["ratio"] for row in rows if row["kind"] == "ratio"}
    receipt = {row["at_once"]: row for row in rows if row["kind"] == "receipt"}
    return {
        "cpu_ratio": max(ratio.values()),
        "cpu_ratio_8_at_once": ratio[TOGETHER],
        "cpu_ratio_1_at_once": ratio[1],
        "receipt_p50_s": max(row["p50_s"] for row in receipt.values()),
        "receipt_p95_s": max(row["p95_s"] for row in receipt.values()),
        "receipt_p95_s_1_at_once": receipt[1]["p95_s"],
    }
