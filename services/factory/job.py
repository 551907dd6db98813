"""Drive fine-tunes from QUEUED to their end, one at a time, from what the store says and nothing else.

    QUEUED -> READING -> TRAINING -> SUCCEEDED | FAILED | CANCELLED

Every step can be killed and taken again: reading starts over, training goes on with the same inputs and gives the same
bytes, and each change of state holds only if the fine-tune still was in the state before.  One process works on a
store; it does not know of others.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from openledger.manifest import ManifestError
from services.factory import (
    clock,
    counterfactual_plan,
    follow,
    history,
    retrain,
    store,
    store_events,
    store_snapshots,
    trunk_task,
)
from services.factory.admit import Admission
from services.factory.bell import Bell, rung
from services.factory.counterfactual_plan import TooFewContributors
from services.factory.event_log import EventLog
from services.factory.failures import REASONS
from services.factory.forget import forget, forget_all
from services.factory.gather import Gatherer
from services.factory.lineage import lineage, measured, with_audit, with_private
from services.factory.model import UNFINISHED, FineTune, JobFailed, State, TrainingProgress
from services.factory.private_work import PrivateWork
from services.factory.read import erased
from services.factory.retention import Retention
from services.factory.run_shard import shard
from services.kit import logs
from services.kit.database import Database
from services.kit.errors import Fault, from_exception
from services.kit.executor import WORKER_DIED, Done, Executor, Report, TaskFailed
from services.kit.wait import stop

MAX_DEATHS = 3
"""Workers that may die under one fine-tune before it is given up: it is probably what kills them."""
_POLL = 1.0


@dataclass(frozen=True)
class Limits:
    """What one fine-tune may take."""

    read: float
    """Seconds."""
    train: float
    """Seconds of all lives of the service together, further trainings included: again without some contributors, or
    for those who were not followed yet."""
    at_once: int = 1
    """Of those trainings."""


@dataclass(frozen=True)
class Made:
    """What workers made: the run with everybody in its index, what its trainings again say, and its private files."""

    done: Done
    again: Done | None
    private: list[Done]


class Runner:
    """The machine's one line of work."""

    def __init__(
        self,
        database: Database,
        admission: Admission,
        gatherer: Gatherer,
        executor: Executor,
        private: PrivateWork,
        bell: Bell,
        limits: Limits,
        private_key: str,
        retention: Retention,
    ) -> None:
        """private_key: signs lineage manifests.  The executor's workers find the gatherer's records."""
        self._database, self._admission, self._gatherer, self._executor = database, admission, gatherer, executor
        self._private, self._bell, self._limits, self._key = private, bell, limits, private_key
        self._retention = retention
        self._log = logs.logger("factory")

    async def run(self) -> None:
        """Work for ever.  What is half done when this is cancelled is taken up again by the next run."""
        await forget_all(self._database, self._executor, self._private, shard)
        while True:
            await self._retention.sweep()
            changed = self._bell.next()
            job = await self._database.read(store.next_unfinished)
            if job is None:
                await rung(changed, _POLL)
            else:
                await self._take(job)

    async def _take(self, job: FineTune) -> None:
        """Work on a fine-tune until it ends, by itself or by its owner's will."""
        work = asyncio.create_task(self._work(job))
        ended = asyncio.create_task(self._ended(job.id))
        try:
            await asyncio.wait((work, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await stop(ended)
            await stop(work)
        if not work.cancelled():
            work.result()
        await self._forget(job.id)

    async def _work(self, job: FineTune) -> None:
        try:
            await self._train(await self._read(job))
        except JobFailed as failure:
            await self._fail(job, failure.reason, failure.message)
        except OperationalError:
            raise  # the database is away, so there is nowhere to write that this failed: it is taken up again
        except Exception as error:  # noqa: BLE001 - one fine-tune's trouble must not hold up all that wait behind it
            fault = from_exception(error)
            if fault.reason == "INTERNAL":
                self._log.error("fine-tune failed", fine_tune=job.name, exc_info=error)
            await self._fail(job, fault.reason, f"{fault.message}; fine-tune {job.id}")

    async def _ended(self, id_: str) -> None:
        """Returns when the fine-tune is at its end."""
        while True:
            changed = self._bell.next()
            with contextlib.suppress(OperationalError):  # a database that is away for a moment ends no training
                job = await self._database.read(lambda c: store.find(c, id_))
                if job is None or job.state not in UNFINISHED:
                    return
            await rung(changed, _POLL)

    async def _forget(self, id_: str) -> None:
        job = await self._database.read(lambda c: store.find(c, id_))
        if job is not None and job.state is State.FAILED:  # by an erasure, perhaps, while its texts were written
            await self._gatherer.remove_erased(job.snapshots, job.id)
        if job is not None and job.records and job.state not in UNFINISHED:
            await forget(self._database, self._executor, self._private, job, shard(job))
            await self._private.sweep()

    async def _read(self, job: FineTune) -> FineTune:
        """Its records, all of them what was frozen."""
        if job.records and self._gatherer.kept.has(job.records):
            return job
        named = " and ".join(pin.name for pin in job.snapshots)
        await self._move(job, State.READING, f"reading {named} and checking every record against the root")
        digest = await self._gatherer.of(job, self._limits.read)
        return replace(await self._licensed(job), records=digest)

    async def _licensed(self, job: FineTune) -> FineTune:
        if job.licence:
            return job
        try:
            outcome = await self._admission.license_now(job.run)
        except Fault as fault:
            raise JobFailed(fault.reason, fault.message) from fault
        return replace(job, licence=outcome.licence, attributions=outcome.attributions)

    async def _train(self, job: FineTune) -> None:
        said = "taken up again" if job.state is State.TRAINING else "every record is what was frozen; training starts"
        settled = {"records": job.records, "licence": job.licence, "attributions": job.attributions}
        await self._move(job, State.TRAINING, said, **settled)
        events = EventLog(self._database, self._bell, job.id)
        writing = asyncio.create_task(events.run())
        try:
            made = await self._in_time(job, events.put)
        finally:
            await stop(writing)
        await events.flush()
        await self._succeed(job, made)

    async def _in_time(self, job: FineTune, tell: Report) -> Made:
        try:
            left = self._limits.train - job.training_seconds
            async with clock.running(self._database, job), asyncio.timeout(left):
                done = await self._attempts(job, await self._foretold(job, tell))
                return await self._further(job, done, tell)
        except TimeoutError:
            more = ", or fewer trainings again" if job.spec.trained_again else ""
            said = f"training took longer than the {self._limits.train:.0f} s that it may take here: "
            raise JobFailed("OUT_OF_TIME", f"{said}take fewer epochs or records{more}") from None
        except TooFewContributors as error:
            raise JobFailed("TOO_FEW_CONTRIBUTORS", str(error)) from error

    async def _attempts(self, job: FineTune, tell: Report) -> Done:
        work = shard(job)
        below = trunk_task.shard(work.arguments)
        while True:
            try:
                if below is not None and await self._executor.find(work) is None:
                    await self._executor.run(below, tell)
                return await self._executor.run(work, tell)
            except TaskFailed as failure:
                await self._died(job, failure)

    async def _foretold(self, job: FineTune, tell: Report) -> Report:
        """Raises `TooFewContributors` before anything is trained, if there are too few whatever will be left out."""
        people = await asyncio.to_thread(lambda: retrain.contributors(self._gatherer.kept.get(job.records)))
        counterfactual_plan.check(job.spec, people)
        return retrain.foretold(tell, job.spec, people, self._limits.at_once)

    async def _further(self, job: FineTune, done: Done, tell: Report) -> Made:
        executor, run, at_once = self._executor, shard(job), self._limits.at_once
        try:
            indexed, done = await follow.follow(executor, run, job.spec, done, tell, at_once)
            again = None
            if job.spec.trained_again:
                again = await retrain.retrain(executor, run, job.spec, done, tell, at_once, indexed)
            private = await self._private.make(run, tell)
            if below := trunk_task.shard(run.arguments):
                await executor.remove(below)
            return Made(done, again, private)
        except TaskFailed as failure:
            if failure.kind == WORKER_DIED:
                said = f"{MAX_DEATHS} workers died over one further training, most likely of too little memory"
                raise JobFailed("WORKER_DIED", said) from failure
            raise self._failure(job, failure) from failure

    async def _died(self, job: FineTune, failure: TaskFailed) -> None:
        """Returns when the work may be tried again."""
        if failure.kind != WORKER_DIED:
            raise self._failure(job, failure)
        deaths = await self._database.write(lambda c: store.count_death(c, job.id))
        if deaths >= MAX_DEATHS:
            raise JobFailed("WORKER_DIED", f"{deaths} workers died over it, most likely of too little memory")
        said = f"the worker died; starting again ({deaths} of {MAX_DEATHS})"
        await self._database.write(lambda c: store.note(c, job.id, State.TRAINING, said, None))
        self._bell.ring()

    def _failure(self, job: FineTune, failure: TaskFailed) -> JobFailed:
        reason = REASONS.get(failure.kind, "INTERNAL")
        self._log.warning("worker failed", fine_tune=job.name, kind=failure.kind, message=failure.message)
        return JobFailed(
            reason, failure.message if reason != "INTERNAL" else f"an error on our side; fine-tune {job.id}"
        )

    async def _succeed(self, job: FineTune, made: Made) -> None:
        if record := await self._database.read(lambda c: store_snapshots.erased_among(c, job.snapshots, job.id)):
            raise erased(record, " and ".join(pin.name for pin in job.snapshots))
        done, again = made.done, made.again
        result = done.result if again is None else with_audit(done.result, again.result)
        result = with_private(result, made.private)
        try:
            manifest = await asyncio.to_thread(lineage, job, result, self._key)
            data = manifest.to_bytes()
        except ManifestError as error:
            raise JobFailed("UNTRAINABLE", f"the run gave figures that cannot be published: {error}") from error
        await self._private.keep(shard(job), manifest.digest, made.private)
        metrics, past = measured(result), await asyncio.to_thread(history.read, done.output)
        ended: dict[str, Any] = {
            "manifest": data,
            "revision": manifest.revision,
            "metrics": metrics,
            "trained_tokens": metrics.train_tokens,
            "output": str(done.output),
            "audit_output": str(again.output) if again is not None else "",
        }

        def succeed(c: Connection) -> None:
            if store.move(c, job.id, State.SUCCEEDED, "done: ready to be published", **ended) and past is not None:
                for step, loss in past.evaluations:  # those too that no report told of, since another run made them
                    seen = TrainingProgress(step, len(past.losses), past.train_loss(step), valid_loss=loss)
                    store_events.put_checkpoint(c, job.id, seen, known_stays=True)

        await self._database.write(succeed)
        self._bell.ring()

    async def _fail(self, job: FineTune, reason: str, message: str) -> None:
        await self._move(job, State.FAILED, message, reason=reason, message=message)

    async def _move(self, job: FineTune, state: State, said: str, **values: Any) -> None:
        """Change the state, unless the owner has ended it: then whoever watches for that stops this work."""
        await self._database.write(lambda c: store.move(c, job.id, state, said, **values))
        self._bell.ring()
