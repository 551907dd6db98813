"""The Factory's gRPC API: messages in, verbs called, messages out."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from sqlalchemy import Connection

from openledger import names
from openledger.artifacts import ArtifactStore
from openledger.factory.v1 import factory_pb2 as pb
from openledger.factory.v1 import factory_pb2_grpc
from services.factory import store, translate
from services.factory.admit import Admitted, admit
from services.factory.bell import Bell, rung
from services.factory.estimate import estimate
from services.factory.model import UNFINISHED, FineTune, State
from services.factory.publish import put_artifacts
from services.factory.source import SnapshotSource
from services.factory.spec import FineTuneSpec
from services.kit import call
from services.kit.auth import ACCOUNTS, PUBLIC
from services.kit.database import Database
from services.kit.errors import exists, invalid, not_found, precondition
from services.kit.idempotency import Idempotency

M = TypeVar("M", bound=Message)
T = TypeVar("T")

ACCESS = {
    "EstimateFineTune": ACCOUNTS,
    "CreateFineTune": ACCOUNTS,
    "GetFineTune": ACCOUNTS,
    "ListFineTunes": ACCOUNTS,
    "WatchFineTune": ACCOUNTS,
    "CancelFineTune": ACCOUNTS,
    "PublishAdapterRevision": ACCOUNTS,
    "GetAdapterRevision": PUBLIC,
    "ListAdapterRevisions": PUBLIC,
}
_PAGE, _EVENTS, _POLL = 50, 256, 0.5
_MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Workshop:
    """What the API works with."""

    database: Database
    source: SnapshotSource
    records: ArtifactStore
    """Verified records of snapshots, never published."""
    artifacts: ArtifactStore
    bell: Bell
    bases: tuple[str, ...]
    threads: int
    precision: str
    """Of fine-tunes that ask for none."""


class FactoryServicer(factory_pb2_grpc.FactoryServiceServicer):
    """One per process."""

    def __init__(self, workshop: Workshop) -> None:
        self._w, self._database, self._bell = workshop, workshop.database, workshop.bell
        self._idempotency = Idempotency(store.METADATA)

    async def EstimateFineTune(
        self, request: pb.EstimateFineTuneRequest, context: grpc.aio.ServicerContext
    ) -> pb.FineTuneEstimate:
        spec, admitted = await self._admit(request.spec)
        counted = await estimate(self._database, self._w.source, self._w.records, spec, admitted)
        about = admitted.snapshot
        return translate.estimate_to(counted, spec, about.name, about.licence)

    async def CreateFineTune(self, request: pb.CreateFineTuneRequest, context: grpc.aio.ServicerContext) -> pb.FineTune:
        owner = call.principal().address
        earlier = await self._database.read(lambda c: self._recall(c, request, pb.FineTune))
        if earlier is not None:
            return earlier
        spec, admitted = await self._admit(request.spec)
        job = FineTune(
            id=uuid.uuid4().hex,
            owner=owner,
            adapter=request.adapter_id,
            spec=spec,
            snapshot=admitted.snapshot.name,
            snapshot_root=admitted.snapshot.root,
            base_sha256=admitted.base_sha256,
            threads=self._w.threads,
            create_time=datetime.now(UTC),
        )

        def create(c: Connection) -> pb.FineTune:
            if store.claim_adapter(c, job.adapter, owner) != owner:
                raise exists("ADAPTER_TAKEN", f"adapters/{job.adapter} is another account's; choose another adapter_id")
            store.add_fine_tune(c, job, "waiting for its turn")
            return translate.fine_tune_to(job)

        return await self._once(request, pb.FineTune, create)

    async def GetFineTune(self, request: pb.GetFineTuneRequest, context: grpc.aio.ServicerContext) -> pb.FineTune:
        return translate.fine_tune_to(await self._database.read(_mine(request.name)))

    async def ListFineTunes(
        self, request: pb.ListFineTunesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListFineTunesResponse:
        owner, size, before = call.principal().address, request.page_size or _PAGE, _before(request.page_token)
        page = await self._database.read(lambda c: store.page(c, owner, before, size + 1))
        shown, token = _cut(page, size)
        return pb.ListFineTunesResponse(fine_tunes=map(translate.fine_tune_to, shown), next_page_token=token)

    async def WatchFineTune(
        self, request: pb.WatchFineTuneRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.FineTuneEvent]:
        job, after = await self._database.read(_mine(request.name)), min(request.after_sequence, _MAX_INTEGER)
        while True:
            changed = self._bell.next()
            state, events = await self._database.read(lambda c, a=after: store.events(c, job.id, a, _EVENTS))  # type: ignore[misc]
            for event in events:
                yield translate.event_to(event)
                after = event.sequence
            if not events and state not in UNFINISHED:
                return
            if not events:
                await rung(changed, _POLL)

    async def CancelFineTune(self, request: pb.CancelFineTuneRequest, context: grpc.aio.ServicerContext) -> pb.FineTune:
        mine = _mine(request.name)

        def cancel(c: Connection) -> pb.FineTune:
            job = mine(c)
            if not store.move(c, job.id, State.CANCELLED, "cancelled by its owner") and job.state != State.CANCELLED:
                raise precondition("ALREADY_ENDED", f"{job.name} is {job.state} already", state=job.state)
            return translate.fine_tune_to(mine(c))

        return await self._once(request, pb.FineTune, cancel)

    async def PublishAdapterRevision(
        self, request: pb.PublishAdapterRevisionRequest, context: grpc.aio.ServicerContext
    ) -> pb.AdapterRevision:
        job = await self._database.read(_mine(request.fine_tune))
        revision = await put_artifacts(job, self._w.artifacts)
        return await self._once(
            request, pb.AdapterRevision, lambda c: translate.revision_to(store.add_revision(c, revision))
        )

    async def GetAdapterRevision(
        self, request: pb.GetAdapterRevisionRequest, context: grpc.aio.ServicerContext
    ) -> pb.AdapterRevision:
        revision = await self._database.read(lambda c: store.find_revision(c, request.name))
        if revision is None:
            raise not_found("REVISION_NOT_FOUND", f"there is no published {request.name}")
        return translate.revision_to(revision)

    async def ListAdapterRevisions(
        self, request: pb.ListAdapterRevisionsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListAdapterRevisionsResponse:
        part, size, before = (
            names.match("adapters/*", request.parent)[0],
            request.page_size,
            _before(request.page_token),
        )
        adapter, size = (None if part == "-" else part), size or _PAGE
        page = await self._database.read(lambda c: store.page_revisions(c, adapter, before, size + 1))
        shown, token = _cut(page, size)
        revisions = map(translate.revision_to, shown)
        return pb.ListAdapterRevisionsResponse(adapter_revisions=revisions, next_page_token=token)

    async def _admit(self, message: pb.FineTuneSpec) -> tuple[FineTuneSpec, Admitted]:
        spec = translate.spec_from(message, self._w.precision)
        return spec, await admit(self._w.source, self._w.bases, spec, message.snapshots[0])

    async def _once(self, request: Message, response: type[M], change: Callable[[Connection], M]) -> M:
        """Make a change unless this very request made it before; its first answer either way."""

        def transaction(c: Connection) -> M:
            earlier = self._recall(c, request, response)
            if earlier is not None:
                return earlier
            answer = change(c)
            caller, method, id_ = _key(request)
            self._idempotency.remember(c, caller, method, id_, request, answer)
            return answer

        answer = await self._database.write(transaction)
        self._bell.ring()
        return answer

    def _recall(self, c: Connection, request: Message, response: type[M]) -> M | None:
        caller, method, id_ = _key(request)
        return self._idempotency.recall(c, caller, method, id_, request, response)


def _key(request: Message) -> tuple[str, str, str]:
    id_ = request.request_id  # type: ignore[attr-defined]
    return call.principal().name, call.current().method.rpartition("/")[2], id_


def _mine(name: str) -> Callable[[Connection], FineTune]:
    """Finds the caller's fine-tune of that name.  Another's is as if it were not there."""
    owner = call.principal().address

    def find(c: Connection) -> FineTune:
        job = store.find(c, names.match("fineTunes/*", name)[0])
        if job is None or job.owner != owner:
            raise not_found("FINE_TUNE_NOT_FOUND", f"accounts/{owner} has no {name}")
        return job

    return find


def _before(token: str) -> int | None:
    if not token:
        return None
    if not (token.isascii() and token.isdecimal() and int(token) <= _MAX_INTEGER):
        raise invalid("BAD_PAGE_TOKEN", "page_token is not one that this list gave out", "page_token")
    return int(token)


def _cut(page: list[tuple[int, T]], size: int) -> tuple[list[T], str]:
    """One more than asked for was read, to know whether there is a next page."""
    shown = page[:size]
    return [entry for _, entry in shown], str(shown[-1][0]) if len(page) > size else ""
