"""Transport of fine-tunes: estimated, created, cloned, exported, found, compared, cancelled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from sqlalchemy import Connection

from openledger.factory.v1 import factory_pb2 as pb
from services.factory import filter as filters
from services.factory import history, run_file, store, store_events, translate
from services.factory.compare import MAX_POINTS, compare, curve
from services.factory.model import Checkpoint, FineTune, State, TrainingProgress
from services.factory.queue import Queue
from services.factory.translate_run import UNNAMED, changed, run_from
from services.factory.workshop import PAGE, Answers, Workshop, before, cut, mine
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.errors import invalid, precondition

ACCESS = {
    "EstimateFineTune": ACCOUNTS,
    "CreateFineTune": ACCOUNTS,
    "CloneFineTune": ACCOUNTS,
    "ExportFineTune": ACCOUNTS,
    "GetFineTune": ACCOUNTS,
    "ListFineTunes": ACCOUNTS,
    "CompareFineTunes": ACCOUNTS,
    "CancelFineTune": ACCOUNTS,
}
_STATES = {word: state for state, word in translate.STATUS.items()}
_MOST_CHECKPOINTS = 1000
_ESTIMATES_AT_ONCE = 2
"""Each holds all of its records, and keeps a core busy with tokenising them."""


class FineTuneMethods:
    """Part of the servicer."""

    def __init__(self, workshop: Workshop, answers: Answers) -> None:
        self._w, self._database, self._answers = workshop, workshop.database, answers
        self._queue = Queue(workshop, answers)
        self._estimates = asyncio.Semaphore(_ESTIMATES_AT_ONCE)

    async def EstimateFineTune(
        self, request: pb.EstimateFineTuneRequest, context: grpc.aio.ServicerContext
    ) -> pb.FineTuneEstimate:
        run = run_from(_spec(request), request.run_file, "" if request.run_file else UNNAMED, self._w.precision)
        if run.replaces is not None:
            what = f"the run of {run.replaces.revision} taken again"
            raise precondition("IS_REPLACEMENT", f"it is {what}, and takes what that took: see its fine-tune")
        admitted = await self._w.admission.admit(run, call.principal().address)
        async with self._estimates:
            estimate = await self._w.estimator.estimate(admitted)
        return translate.estimate_to(estimate, admitted, self._w.estimator.tariff)

    async def CreateFineTune(self, request: pb.CreateFineTuneRequest, context: grpc.aio.ServicerContext) -> pb.FineTune:
        earlier = await self._answers.earlier(request, pb.FineTune)
        if earlier is not None:
            return earlier
        run = run_from(_spec(request), request.run_file, request.adapter_id, self._w.precision)
        return await self._queue.put(request, run)

    async def CloneFineTune(self, request: pb.CloneFineTuneRequest, context: grpc.aio.ServicerContext) -> pb.FineTune:
        earlier = await self._answers.earlier(request, pb.FineTune)
        if earlier is not None:
            return earlier
        job = await self._database.read(mine(request.name))
        if job.replaces is not None:
            raise precondition(
                "IS_REPLACEMENT",
                f"{job.name} is the run of {job.replaces.revision} taken again, and changes would make it another: "
                "clone that one's fine-tune; everybody would be in it",
            )
        return await self._queue.put(request, changed(job.run, request.changes, request.adapter_id), job.name)

    async def ExportFineTune(self, request: pb.ExportFineTuneRequest, context: grpc.aio.ServicerContext) -> pb.RunFile:
        job = await self._database.read(mine(request.name))
        return pb.RunFile(content=run_file.dump(job.run))

    async def GetFineTune(self, request: pb.GetFineTuneRequest, context: grpc.aio.ServicerContext) -> pb.FineTune:
        return translate.fine_tune_to(await self._database.read(mine(request.name)))

    async def ListFineTunes(
        self, request: pb.ListFineTunesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListFineTunesResponse:
        owner, size, start = call.principal().address, request.page_size or PAGE, before(request.page_token)
        try:
            where = filters.conditions(request.filter, _STATES)
        except filters.FilterError as error:
            raise invalid("BAD_FILTER", f"filter: {error}", "filter") from error
        page = await self._database.read(lambda c: store.page(c, owner, start, size + 1, where))
        shown, token = cut(page, size)
        return pb.ListFineTunesResponse(fine_tunes=map(translate.fine_tune_to, shown), next_page_token=token)

    async def CompareFineTunes(
        self, request: pb.CompareFineTunesRequest, context: grpc.aio.ServicerContext
    ) -> pb.FineTuneComparison:
        names = list(request.names)
        if len(names) < 2 or len(set(names)) < len(names):
            raise invalid("BAD_COMPARISON", "names: two to eight different fine-tunes can be compared", "names")
        finders = [mine(name) for name in names]

        def read(c: Connection) -> pb.FineTuneComparison:
            jobs = [find(c) for find in finders]
            curves = [curve(_losses(c, job), _checkpoints(c, job)) for job in jobs]
            return translate.comparison_to(compare(jobs, curves))

        return await self._database.read(read)

    async def CancelFineTune(self, request: pb.CancelFineTuneRequest, context: grpc.aio.ServicerContext) -> pb.FineTune:
        find = mine(request.name)

        def cancel(c: Connection) -> pb.FineTune:
            job = find(c)
            if not store.move(c, job.id, State.CANCELLED, "cancelled by its owner") and job.state != State.CANCELLED:
                raise precondition("ALREADY_ENDED", f"{job.name} is {job.state} already", state=job.state)
            return translate.fine_tune_to(find(c))

        return await self._answers.once(request, pb.FineTune, cancel)


def _spec(request: pb.EstimateFineTuneRequest | pb.CreateFineTuneRequest) -> pb.FineTuneSpec | None:
    return request.spec if request.HasField("spec") else None


def _losses(c: Connection, job: FineTune) -> list[TrainingProgress]:
    """Of every step where the run is done, else of those that were told."""
    past = history.read(Path(job.output)) if job.output else None
    if past is None:
        return store_events.losses(c, job.id)
    return [TrainingProgress(step, len(past.losses), loss) for step, loss in enumerate(past.losses, start=1)]


def _checkpoints(c: Connection, job: FineTune) -> list[Checkpoint]:
    return [found for _, found in store_events.checkpoints(c, job.id, None, max(_MOST_CHECKPOINTS, MAX_POINTS))]
