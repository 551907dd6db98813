"""What a fine-tune would take: records, tokens, time, memory, price; and what somebody should know before it starts.

Counts are exact, made with the real tokenizer on the verified records; seconds are judged by the last run on that base
and by how much more or less a token of this one costs (``work.per_token``); memory by counting what training holds.
Does not know whether anybody will pay.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from openledger import base_models
from openledger.base_model_shape import BaseModelShape
from services.factory import counterfactual_plan, memory, parts, store
from services.factory.admit import Admission, Admitted
from services.factory.data import Example, Refused, load_tokenizer, split, tokenise
from services.factory.gather import Gatherer
from services.factory.licence import Outcome
from services.factory.lines import parse
from services.factory.model import JobFailed, Metrics
from services.factory.spec import FineTuneSpec
from services.factory.warn import Caution, Prospect, cautions
from services.factory.work import per_token
from services.kit.database import Database
from services.kit.errors import precondition, unavailable

LastRun = tuple[FineTuneSpec, Metrics]
_PATIENCE = 20.0
ASSUMED_TOKENS_PER_SECOND, ASSUMED_START_SECONDS = 200.0, 15.0
"""Before any run on a base: SmolLM2-135M on two CPU cores, and the start of a worker."""
RETRAINING_START_SECONDS = 10.0
"""Of the worker of a training again, or of a further part of the contributors, which finds the base model made."""


@dataclass(frozen=True)
class Tariff:
    """What training costs here, and how much of time (seconds) and memory (bytes, 0: nobody said) a run may take."""

    price_per_1k_tokens: int
    """Atomic units."""
    most_seconds: float
    most_memory: int = 0
    retrainings_at_once: int = 1

    def price(self, tokens: int) -> int:
        """Atomic units, rounded up."""
        return -(-tokens * self.price_per_1k_tokens // 1000)


@dataclass(frozen=True)
class Dropped:
    """Records that cannot be used for one reason, with the first of them as an example."""

    code: str
    records: int
    example: str
    reason: str


@dataclass(frozen=True)
class Estimate:
    """`records` are all of the snapshots', each once; `contributors` those whose records would be trained on."""

    records: int
    train_records: int
    held_out_records: int
    dropped: tuple[Dropped, ...]
    contributors: Mapping[str, int]
    steps: int
    train_tokens: int
    """Of the training records, times the epochs."""
    counterfactual_tokens: int
    """Of the trainings again without some contributors."""
    counterfactual_seconds: float
    """That these take, of all `seconds`."""
    parts: int
    """Trainings that it takes to follow all contributors."""
    parts_seconds: float
    """That those after the first one take, of all `seconds`."""
    seconds: float
    memory_bytes: int
    price: int
    outcome: Outcome
    licences: Mapping[str, int]
    """Records of the snapshots by licence."""
    cautions: tuple[Caution, ...]


@dataclass(frozen=True)
class Estimator:
    """Everything an estimate is made with."""

    database: Database
    admission: Admission
    gatherer: Gatherer
    tariff: Tariff

    async def estimate(self, admitted: Admitted) -> Estimate:
        """Raises `Fault` when a snapshot cannot be read or is not what was frozen."""
        digest = await self._gather(admitted)
        last = await self.database.read(lambda c: store.last_run(c, admitted.run.spec.base))
        data = await asyncio.to_thread(self.gatherer.kept.get, digest)
        return await asyncio.to_thread(self._count, data, admitted, last)

    async def _gather(self, admitted: Admitted) -> str:
        try:
            return await self.gatherer.gather(admitted.run.snapshots, _PATIENCE, anew=False)
        except JobFailed as failure:
            if failure.reason == "DATANET_UNAVAILABLE":
                raise unavailable(failure.reason, failure.message, 5) from failure
            raise precondition(failure.reason, failure.message) from failure

    def _count(self, data: bytes, admitted: Admitted, run: LastRun | None) -> Estimate:
        records, spec = parse(data), admitted.run.spec
        folder = base_models.locate(spec.base)
        shape = BaseModelShape.read(folder)
        tokenised = tokenise(records, spec, _tokenizer(folder), shape.context)
        training, held_out = split(tokenised.examples, spec.held_out, spec.seed)
        contributors = Counter(example.contributor for example in training)
        tokens = sum(example.length for example in training) * spec.epochs
        last = scaled(run, spec, shape, training)
        again = counterfactual_plan.tokens(spec, len(contributors), tokens)
        longer = counterfactual_seconds(spec, len(contributors), tokens, last, self.tariff.retrainings_at_once)
        count = parts.count(spec, len(contributors))
        following = parts_seconds(count, tokens, last, self.tariff.retrainings_at_once)
        took = seconds(tokens, last) + following + longer
        every = sum(example.length for example in tokenised.examples)
        needs = memory.training_bytes(shape, spec, len(contributors), every)
        prospect = Prospect(
            spec,
            len(records),
            len(training),
            len(held_out),
            contributors,
            took,
            needs,
            longer,
            following,
            tokenised.credited_to_others,
        )
        return Estimate(
            records=len(records),
            train_records=len(training),
            held_out_records=len(held_out),
            dropped=_dropped(tokenised.refused),
            contributors=contributors,
            steps=math.ceil(len(training) * spec.epochs / spec.batch_size),
            train_tokens=tokens,
            counterfactual_tokens=again,
            counterfactual_seconds=longer,
            parts=count,
            parts_seconds=following,
            seconds=took,
            memory_bytes=needs,
            price=self.tariff.price(count * tokens + again),
            outcome=admitted.outcome,
            licences=_licences(admitted),
            cautions=tuple(cautions(prospect, self.tariff.most_seconds, self.tariff.most_memory)),
        )


def scaled(
    run: LastRun | None, spec: FineTuneSpec, shape: BaseModelShape, training: Sequence[Example]
) -> Metrics | None:
    """What the last run of a base would have measured, about, had it been by this specification."""
    if run is None:
        return None
    answers = sum(len(e.completion) for e in training) / max(1, sum(e.length for e in training))
    ratio = per_token(spec, shape, answers) / per_token(run[0], shape, answers)
    return replace(run[1], seconds=run[1].seconds * ratio)


def seconds(tokens: int, last: Metrics | None) -> float:
    """How long training on so many tokens takes, judged by the last run's whole time."""
    known = last is not None and last.train_tokens > 0 and last.seconds > 0
    return tokens * _per_token(last) + (0 if known else ASSUMED_START_SECONDS)


def counterfactual_seconds(
    spec: FineTuneSpec, contributors: int, tokens: int, last: Metrics | None, at_once: int
) -> float:
    """How long the trainings again take, so many of them at once, where the run itself trains on so many tokens."""
    count = counterfactual_plan.trainings(spec, contributors)
    each = counterfactual_plan.tokens(spec, contributors, tokens) * counterfactual_plan.cost(spec) / max(count, 1)
    return math.ceil(count / at_once) * (RETRAINING_START_SECONDS + each * _per_token(last))


def parts_seconds(count: int, tokens: int, last: Metrics | None, at_once: int) -> float:
    """How long the trainings for further parts of the contributors take, so many of them at once."""
    return math.ceil((count - 1) / at_once) * (RETRAINING_START_SECONDS + tokens * _per_token(last))


def _per_token(last: Metrics | None) -> float:
    if last is None or last.train_tokens == 0 or last.seconds <= 0:
        return 1 / ASSUMED_TOKENS_PER_SECOND
    return last.seconds / last.train_tokens


def _licences(admitted: Admitted) -> Counter[str]:
    counts = Counter[str]()
    for about in admitted.snapshots:
        counts[about.licence] += about.records
    return counts


def _dropped(refused: tuple[Refused, ...]) -> tuple[Dropped, ...]:
    by_code: dict[str, list[Refused]] = {}
    for one in refused:
        by_code.setdefault(one.code, []).append(one)
    return tuple(Dropped(code, len(all_), all_[0].record, all_[0].reason) for code, all_ in sorted(by_code.items()))


@cache
def _tokenizer(folder: Path) -> Any:
    return load_tokenizer(folder)
