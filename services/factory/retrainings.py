"""Takes the trainings of a published revision again through the executor: the run itself, and some of the others.

They are the tasks by which a Factory made them, and leaves somebody out (`replay`, `counterfactual_task`).  What is
finished is found.  Of a contributor whose records are not all there, only trainings without it can be taken again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from openledger import spot_check
from openledger.artifacts import ArtifactStore
from openledger.retrained import Found
from services.factory import as_planned, counterfactual_plan, parts, provenance, run_shard, trunk_task
from services.factory import claims as published
from services.factory.alike import Comparison
from services.factory.claims import Claims, Training
from services.factory.exported import ExportSource
from services.factory.merge import merge
from services.factory.read import read_snapshot
from services.factory.run import SnapshotPin
from services.factory.verdict import RUN, Verdict
from services.kit.executor import Done, Executor, Shard, TaskFailed, run_all

_TASKS = "services.factory.again_task"
_THE_PUBLISHERS_FAULT = ("Diverged", "RecordsMissing", "NothingToTrainOn", "TrainingError")
"""Kinds of failure that a run that was really made does not end in."""


class Refused(Exception):
    """Nothing can be said; the message says what is missing."""


@dataclass
class _Progress:
    """Told as trainings and parts of them, each by what it costs."""

    tell: Callable[[dict[str, Any]], None]
    costs: Sequence[float]
    start: float = field(default_factory=time.monotonic)
    found: float = 0.0
    """Of what was finished before."""

    def at(self, number: int, doing: str, share: float) -> None:
        """share: of the training that this number has, from 0."""
        ahead, made = sum(self.costs), sum(self.costs[:number]) + share * self.costs[number] - self.found
        passed = time.monotonic() - self.start
        left = passed / made * (ahead - self.found - made) if made > 0 else None
        where = {"training": number + 1, "of": len(self.costs), "share": round(share, 3)}
        self.tell({"doing": doing, **where, "seconds_left": left})


@dataclass(frozen=True)
class Retrainings:
    """Of one revision.  kept: where the records are put for workers; tell: takes progress as JSON.

    base: the base model, as it is called here.
    """

    claims: Claims
    source: ExportSource
    kept: ArtifactStore
    executor: Executor
    tell: Callable[[dict[str, Any]], None]
    base: str

    async def make(self, verdict: Verdict, draw: int) -> None:
        """Take the run and `draw` of the others again, and say what was found.

        Raises `Refused`, `JobFailed`, `TaskFailed`, and what reading raises, where that is nobody's fault but this
        machine's, or the folders'.
        """
        records, there = await self._gather()
        rows = [row for pin in self.claims.lineage.snapshots for row in self.source.rows(pin.name)]
        verdict.documents += as_planned.miscredited(self.claims, rows)
        named = (*self.claims.run.training, *self.claims.run.held_out)
        verdict.absent = sorted({who for record, who in named if who and record not in there})
        everything = there.issuperset(row.record for row in rows)
        if verdict.documents or not await self._as_planned(records, everything, verdict):
            return
        own = run_shard.replay(self.kept.put(self.claims.training), verdict.absent)
        makable = [one for one in self.claims.trainings() if one.without.issuperset(verdict.absent)]
        verdict.of, verdict.beyond = len(makable), sum(1 for _ in self.claims.trainings()) - len(makable)
        drawn = spot_check.by_number(makable, verdict.seed, draw)
        part = [] if verdict.absent else [0, *(one.number for one in drawn if one.kind == "part")]
        people = self.claims.people
        verdict.unfollowed = len(people) - sum(len(parts.members(self.claims.spec, people, one)) for one in part)
        await self._train(self._arguments(self.claims, records, own), drawn, verdict)

    async def _gather(self) -> tuple[str, frozenset[str]]:
        """Digest of the records' texts, and names of those."""
        digests, there = [], set[str]()
        self.kept.root.mkdir(parents=True, exist_ok=True)
        for pin in self.claims.lineage.snapshots:
            if pin.name not in self.source.names:
                raise Refused(f"the records of {pin.name} are needed: name the folder of its export")
            only = self.source.there(pin.name)
            read = await read_snapshot(self.source, SnapshotPin(pin.name, pin.root), self.kept, 0.0, only)
            digests.append(read.digest)
            there |= only
        return merge(self.kept, digests), frozenset(there)

    def _arguments(self, claims: Claims, records: str, again: dict[str, Any] | None = None) -> dict[str, Any]:
        base = None if self.base == claims.spec.base else self.base
        return run_shard.arguments(claims.spec, claims.lineage.base.sha256, records, claims.threads, again, base)

    async def _as_planned(self, records: str, everything: bool, verdict: Verdict) -> bool:
        """Whether the run's records and steps are those that follow from its snapshots and specification.

        Of one that replaces another they follow from that one's, whose own are looked at.  everything: whether all
        texts are here.  Where one is not, nobody can tell: it may be what another record was credited by.
        """
        with verdict.reading("the revision that it replaces"):
            chain = as_planned.taken_again(self.claims)
            verdict.documents += as_planned.replaced(chain)
        if verdict.wrong:
            return False
        if not everything:
            verdict.unknown.append(
                "Texts of its snapshots are not here, and any may decide whose another one is, so nobody can tell "
                "whether training.json has the records that it must have, in their order."
            )
            return True
        first = chain[-1]
        self._say("the order of the records")
        done = await self._run(Shard(f"{_TASKS}:plan", self._arguments(first, records)), verdict, RUN)
        if done is not None and done.result["plan"] != published.planned(first.training):
            said = (
                "training.json has other records, or takes them in another order, than snapshots and specification say"
            )
            self._differs(verdict, said, first)
        return not verdict.wrong

    def _differs(self, verdict: Verdict, what: str, run: Claims) -> None:
        """Other code may read and credit texts otherwise: what differs is no lie then, and not known to be none."""
        if provenance.is_this(run.lineage.code):
            verdict.documents.append(what)
        else:
            told = f"it was made by other code ({run.lineage.code}; this is {provenance.code()})"
            verdict.unknown.append(f"Nobody can tell here whether it is wrong that {what}: {told}. Check it with that.")

    async def _train(self, own: dict[str, Any], drawn: Sequence[Training], verdict: Verdict) -> None:
        with verdict.reading("what its trainings are compared with"):
            comparison = Comparison(self.claims)
        if verdict.wrong:
            return
        work = self._work(own | {"steps": self.claims.run.steps}, drawn, verdict.absent, comparison)
        if work and (below := trunk_task.shard(own)):
            self._say("the frozen layers")
            await self._run(below, verdict, RUN)
        progress = _Progress(self.tell, [self._cost(shard) for _, shard, _ in work])
        for number, (name, shard, compare) in enumerate(work):
            if await self.executor.find(shard) is not None:
                progress.found += progress.costs[number]
            done = await self._run(shard, verdict, name, partial(progress.at, number, name))
            if done is not None:
                verdict.trained(name, _compared(name, compare, done))
            verdict.exact = comparison.machine.exact

    def _work(
        self, own: dict[str, Any], drawn: Sequence[Training], absent: Sequence[str], comparison: Comparison
    ) -> list[tuple[str, Shard, Callable[[Done], Iterable[Found]]]]:
        """Trainings by name, and what is looked at once they are made."""

        def ran(done: Done) -> Iterable[Found]:
            return comparison.run(done.output, done.result["loss"])

        def followed(done: Done) -> Iterable[Found]:
            return comparison.part(done.output)

        def without(training: Training, done: Done) -> Iterable[Found]:
            return comparison.training(training, done.output)

        work: list[tuple[str, Shard, Callable[[Done], Iterable[Found]]]] = []
        if not absent:
            work.append((RUN, Shard(f"{_TASKS}:again", own | {"part": 0}), ran))
        for training in drawn:
            if training.kind == "part":
                work.append((training.name, Shard(f"{_TASKS}:again", own | {"part": training.number}), followed))
            else:
                shard = counterfactual_plan.training_again(own, sorted(training.without.difference(absent)))
                work.append((training.name, shard, partial(without, training)))
        return work

    def _say(self, doing: str) -> None:
        self.tell({"doing": doing, "training": 0, "of": 0, "share": 0.0, "seconds_left": None})

    def _cost(self, shard: Shard) -> float:
        return counterfactual_plan.cost(self.claims.spec) if "without" in shard.arguments else 1.0

    async def _run(
        self, shard: Shard, verdict: Verdict, name: str, at: Callable[[float], None] = lambda _: None
    ) -> Done | None:
        """None where it failed as no run that was really made does; raises `TaskFailed` otherwise."""

        def report(said: dict[str, Any]) -> None:
            at(said["step"] / said["steps"] if said.get("steps") else 0.0)

        at(0.0)
        try:
            [done] = await run_all(self.executor, [shard], lambda *_: None, at_once=1, report=report)
        except TaskFailed as failure:
            if failure.kind not in _THE_PUBLISHERS_FAULT:
                raise
            if not provenance.is_this(self.claims.lineage.code):
                self._differs(verdict, f"{name} cannot be taken again: {failure.message}", self.claims)
                return None
            verdict.trained(name, [Found(name, same=False, wrong=f"it cannot be taken again: {failure.message}")])
            return None
        at(1.0)
        return done


def _compared(name: str, compare: Callable[[Done], Iterable[Found]], done: Done) -> Iterator[Found]:
    """What is published of a training counts as wrong where it does not fit at all, like what differs."""
    try:
        yield from compare(done)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - libraries that parse raise anything
        yield Found(name, same=False, wrong=f"what is published of it does not fit what training gives: {error!r}")
