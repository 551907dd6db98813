"""Transport of how a fine-tune goes: events, as a stream and in pages; checkpoints; what was measured at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from openledger.factory.v1 import factory_pb2 as pb
from services.factory import store_events, translate
from services.factory.bell import rung
from services.factory.lineage import EVALUATION, PRIVATE_EVALUATION
from services.factory.model import UNFINISHED, FineTune
from services.factory.workshop import MAX_INTEGER, PAGE, Workshop, before, cut, mine
from services.kit.auth import ACCOUNTS
from services.kit.errors import not_found

ACCESS = {
    "WatchFineTune": ACCOUNTS,
    "ListFineTuneEvents": ACCOUNTS,
    "ListFineTuneCheckpoints": ACCOUNTS,
    "GetFineTuneEvaluation": ACCOUNTS,
}
_EVENTS, _POLL = 256, 0.5


class ProgressMethods:
    """Part of the servicer."""

    def __init__(self, workshop: Workshop) -> None:
        self._database, self._bell = workshop.database, workshop.bell

    async def WatchFineTune(
        self, request: pb.WatchFineTuneRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.FineTuneEvent]:
        job, after = await self._database.read(mine(request.name)), min(request.after_sequence, MAX_INTEGER)
        while True:
            changed = self._bell.next()
            state, events = await self._database.read(
                lambda c, a=after: store_events.events(c, job.id, a, _EVENTS)  # type: ignore[misc]
            )
            for event in events:
                yield translate.event_to(event)
                after = event.sequence
            if not events and state not in UNFINISHED:
                return
            if not events:
                await rung(changed, _POLL)

    async def ListFineTuneEvents(
        self, request: pb.ListFineTuneEventsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListFineTuneEventsResponse:
        find, size, start = mine(request.parent), request.page_size or PAGE, before(request.page_token)
        page = await self._database.read(lambda c: store_events.newest_events(c, find(c).id, start, size + 1))
        shown, token = cut(page, size)
        return pb.ListFineTuneEventsResponse(events=map(translate.event_to, shown), next_page_token=token)

    async def ListFineTuneCheckpoints(
        self, request: pb.ListFineTuneCheckpointsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListFineTuneCheckpointsResponse:
        size, start = request.page_size or PAGE, before(request.page_token)
        job = await self._database.read(mine(request.parent))
        page = await self._database.read(lambda c: store_events.checkpoints(c, job.id, start, size + 1))
        shown, token = cut(page, size)
        checkpoints = [translate.checkpoint_to(job, found) for found in shown]
        return pb.ListFineTuneCheckpointsResponse(checkpoints=checkpoints, next_page_token=token)

    async def GetFineTuneEvaluation(
        self, request: pb.GetFineTuneEvaluationRequest, context: grpc.aio.ServicerContext
    ) -> pb.FineTuneEvaluation:
        job = await self._database.read(mine(request.name.removesuffix("/evaluation")))
        report, pictures = await asyncio.to_thread(_report, job)
        if report is None:
            raise not_found(
                "NOT_EVALUATED",
                f"{job.name} is {job.state} and has no evaluation here; there is one after it succeeded, for as "
                "long as its files are kept, and with a published revision for ever",
            )
        verdict = job.metrics.verdict if job.metrics is not None else ""
        return pb.FineTuneEvaluation(name=request.name, verdict=verdict, report=report, pictures=pictures)


def _report(job: FineTune) -> tuple[str | None, dict[str, bytes]]:
    """What was measured, with samples where they are kept, else without; and every picture of it."""
    if not job.output:
        return None, {}
    pictures = {file.name: file.read_bytes() for file in sorted(Path(job.output).glob("*.png"))}
    for name in (PRIVATE_EVALUATION, EVALUATION):
        file = Path(job.output) / name
        if file.is_file():
            return file.read_text(), pictures
    return None, pictures
