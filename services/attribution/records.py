"""The verb: which of the records of those whom a receipt pays an answer resembles most, from record sketches.

Who may see the receipt, and who the answer, is decided before; here it is decided what of the records: rank and score
of contributors who are paid, and names to their contributor alone.  No texts.  Nobody is paid by it.  Knows no gRPC and
no database.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from openledger.adapters import trained_on
from openledger.artifacts import ArtifactStore
from openledger.influence.drill_down import SCORERS, USUAL, DrillDownError, RecordScore, sketch_answer, top_records
from openledger.influence.record_sketches import RecordSketches, RecordSketchesError
from openledger.influence.sketch import Answer
from openledger.manifest import LineageManifest
from openledger.receipt import Receipt
from openledger.trace import Trace
from services.attribution.resolve import Models
from services.attribution.score import Unattributable
from services.attribution.shelf import Availability, Shelf
from services.attribution.traces import TraceGone, Traces
from services.kit import logs

MOST_CONTRIBUTORS, MOST_RECORDS = 5, 10
MOST_TOGETHER = 512
"""Records of a contributor whose curvature is taken for somebody who waits: about a second."""
_KEPT = 64
"""Sketches of the answers that were asked about last: 260 KB each."""

_PATIENCE = 10.0
"""Seconds that an answer's gradient is waited for at least: traces that wait go first."""

R = TypeVar("R")
log = logs.logger("attribution")

AGREEMENT = {
    "gradient-dot": (0.997, 0.93),
    "gradient-cosine": (0.997, 0.95),
    "fisher": (0.959, 0.83),
    "adam-dot": (0.980, 0.89),
    "adam-cosine": (0.980, 0.88),
    "adam-fisher": (0.938, 0.80),
    "datainf": (0.979, 0.86),
    "less": (0.970, 0.86),
}
"""Of sketches with full gradients, as `bench/results/records.json` has it: rank correlation, and share of the true top
ten that is found."""

SAID = {
    Availability.READY: "Of those who are paid most, the records that the answer resembles most in what it asks of the "
    "model's weights at the end of training, by {scorer}. Scores can be compared within this answer; two that are "
    "closer than their error are level, and one within two or three errors of zero says nothing. Measured on one "
    "model and 256 records, their order agrees with that of full gradients by {spearman:.3f} (rank correlation), and "
    "{recall:.0%} of the true top ten are found. They do not say what a record earned: nobody is paid by them.",
    Availability.PENDING: "The sketches of the training records are on their way here: ask again in some seconds.",
    Availability.NONE: "This model has no sketches of its training records: it is the base model alone, the sum of "
    "other models, or was made before there were any.",
    Availability.ERASED: "A record that this model was made from is erased, and the sketches of its records with it.",
    Availability.UNAVAILABLE: "The records cannot be ranked now: ask again later, or tell an operator.",
    Availability.FORGOTTEN: "Question and answer are not kept any more: their payer had them made unreadable, or they "
    "are old. So records cannot be ranked by them.",
    Availability.PRIVATE: "Question and answer are their payer's alone, who did not publish them, and so is which "
    "records they resemble.",
}


BUSY = "Answers that were given wait for their receipts, which go first: ask again in a while."


class OneAtATime(Exception):
    """The caller has an answer looked at already that needs the models: one a caller."""


@dataclass(frozen=True)
class Ranked:
    """A record.  name: "" where it is not the caller's; error: standard error of the score, or None."""

    score: float
    error: float | None
    name: str


@dataclass(frozen=True)
class Best:
    """A contributor's records that an answer resembles most, highest score first.  compared: of how many."""

    contributor: str
    compared: int
    records: tuple[Ranked, ...]


@dataclass(frozen=True)
class Drilled:
    """What is said of records, for one caller."""

    state: Availability
    words: str
    scorer: str
    best: tuple[Best, ...] = ()


class DrillDown:
    """What it is made of."""

    def __init__(
        self,
        artifacts: ArtifactStore,
        traces: Traces,
        sketches: Shelf[RecordSketches],
        models: Models,
        worker: Executor,
        scoring: Executor,
    ) -> None:
        """scoring: the one thread that models are for; an answer's gradient is computed there, when no trace waits."""
        self._artifacts, self._traces, self._sketches, self._models = artifacts, traces, sketches, models
        self._worker, self._scoring = worker, scoring
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._callers: set[str] = set()
        """Those for whom a gradient is in hand."""

    async def find(self, receipt: Receipt, caller: str, scorer: str, wait: float) -> Drilled:
        """caller: address.  scorer: one of `SCORERS`, or "" for the sketches' usual one.

        wait: seconds, for sketches that are on their way, and for the models.  Raises `OneAtATime`.
        """
        found = await self._sketches.get(receipt.model.adapter, wait)
        if isinstance(found, Availability):
            return Drilled(found, SAID[found], scorer)
        lineage, sketches = found
        scorer = scorer or USUAL[sketches.header.kind]
        try:
            best = await self._best(receipt, caller, scorer, lineage, sketches, wait)
        except OneAtATime:
            raise
        except TimeoutError:
            return Drilled(Availability.PENDING, BUSY, scorer)
        except TraceGone:
            return Drilled(Availability.FORGOTTEN, SAID[Availability.FORGOTTEN], scorer)
        except DrillDownError as error:
            return Drilled(Availability.UNAVAILABLE, f"The records cannot be ranked by {scorer}: {error}.", scorer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest of the explanation is not touched by it
            log.warning("records cannot be ranked", response=receipt.response, error=f"{type(error).__name__}: {error}")
            return Drilled(Availability.UNAVAILABLE, SAID[Availability.UNAVAILABLE], scorer)
        spearman, recall = AGREEMENT[scorer]
        said = SAID[Availability.READY].format(scorer=scorer, spearman=spearman, recall=recall)
        return Drilled(Availability.READY, said, scorer, best)

    async def _best(
        self,
        receipt: Receipt,
        caller: str,
        scorer: str,
        lineage: LineageManifest,
        sketches: RecordSketches,
        wait: float,
    ) -> tuple[Best, ...]:
        whose = _whose(receipt, caller)
        _check(lineage, sketches, scorer, whose)
        trace = await self._traces.of(receipt)
        answer = await self._answer(trace, sketches, caller, max(wait, _PATIENCE))
        found = await _in(self._worker, lambda: top_records(sketches, answer, whose, MOST_RECORDS, scorer))
        named = caller in whose
        names = await _in(self._worker, lambda: trained_on(self._artifacts, lineage)) if named else []
        return tuple(
            Best(
                who,
                len(sketches.of(who).leaves),
                tuple(_ranked(one, names if who == caller else [], who) for one in best),
            )
            for who, best in found.items()
        )

    async def _answer(self, trace: Trace, sketches: RecordSketches, caller: str, wait: float) -> Answer:
        """Raises `OneAtATime`, `TimeoutError`, and what `_sketched` raises."""
        digest = trace.digest()  # names the adapter too
        if digest not in self._answers:
            if caller in self._callers:
                raise OneAtATime
            self._callers.add(caller)
            try:
                async with asyncio.timeout(wait):
                    self._answers[digest] = await _in(self._scoring, lambda: self._sketched(trace, sketches))
            finally:
                self._callers.discard(caller)
        self._answers.move_to_end(digest)
        found = self._answers[digest]
        while len(self._answers) > _KEPT:
            self._answers.popitem(last=False)
        return found

    def _sketched(self, trace: Trace, sketches: RecordSketches) -> Answer:
        """Raises `Unattributable`, `DrillDownError`, `SketchError`."""
        scorer, revision = self._models.resolve(trace)
        if revision is None or revision.index.header.parameters != sketches.header.parameters:
            raise Unattributable("ADAPTER_UNUSABLE", "the sketches and the adapter do not have the same tensors")
        gradient = scorer.answer(revision.folder, trace.prompt_token_ids, trace.completion_token_ids).gradient
        return sketch_answer(sketches, gradient.to_float())


def _whose(receipt: Receipt, caller: str) -> list[str]:
    """Those who are paid most, and the caller where it is paid."""
    paid = receipt.shares.keys() & receipt.evidence.scores.keys()
    ordered = sorted(paid, key=lambda who: (-receipt.shares[who], who))
    return [who for place, who in enumerate(ordered) if place < MOST_CONTRIBUTORS or who == caller]


def _check(lineage: LineageManifest, sketches: RecordSketches, scorer: str, whose: list[str]) -> None:
    """Raises `RecordSketchesError` for sketches of other records, `DrillDownError` for what would take too long."""
    if dict(sketches.header.contributors) != dict(lineage.contributors):
        raise RecordSketchesError("the sketches are not of the contributors and records that the manifest names")
    most = max((lineage.contributors[who] for who in whose), default=0)
    if SCORERS[scorer].curved is not None and most > MOST_TOGETHER:
        raise DrillDownError(f"it takes at most {MOST_TOGETHER} records of a contributor here, and one has {most}")


def _ranked(score: RecordScore, names: list[tuple[str, str]], who: str) -> Ranked:
    """names: of what was trained on, with whose it is, where `who` may be told."""
    name = ""
    if names:
        if score.leaf >= len(names) or names[score.leaf][1] != who:
            raise RecordSketchesError(f"the sketches give {who} the record {score.leaf}, which is not its own")
        name = names[score.leaf][0]
    return Ranked(score.score, score.error, name)


async def _in(worker: Executor, work: Callable[[], R]) -> R:
    return await asyncio.get_running_loop().run_in_executor(worker, work)
