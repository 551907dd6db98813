"""Transport of records: uploads in, records out to those who may see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
from prometheus_client import Counter
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import (
    declare,
    pages,
    search,
    store,
    store_erasures,
    store_members,
    store_records,
    store_use,
    wire,
)
from services.datanet.answers import Answers, now
from services.datanet.declare import Declaration
from services.datanet.members import Standing
from services.datanet.model import Content, Datanet, Record, RecordState
from services.datanet.store_likeness import Earlier
from services.datanet.store_use import Use
from services.datanet.upload import Candidate, Limits, Room, Upload
from services.datanet.vault import Vault
from services.kit import call
from services.kit.auth import ACCOUNTS, OPEN, Principal
from services.kit.errors import Fault, invalid

ACCESS = {
    "ContributeRecords": ACCOUNTS,
    "GetRecord": OPEN,
    "ListRecords": OPEN,
    "SearchRecords": ACCOUNTS,
}
_CONTRIBUTE = "ContributeRecords"
_LONG = 2**14
"""Characters of a record from which on others do not wait until it is read: some ten milliseconds."""


class RecordMethods:
    """RPCs about records.  `most`: what an account may give in all datanets together."""

    def __init__(
        self, answers: Answers, vault: Vault, most: Use, limits: Limits, room: Room, outcomes: Counter
    ) -> None:
        self._answers, self._vault, self._most_given = answers, vault, most
        self._limits, self._room, self._outcomes = limits, room, outcomes

    async def ContributeRecords(
        self, requests: AsyncIterator[pb.ContributeRecordsRequest], context: grpc.aio.ServicerContext
    ) -> pb.ContributeRecordsResponse:
        header = await _header(requests)
        declaration, same = wire.declaration(header), wire.unsigned(header)
        call.must_be(declaration.contributor)
        caller, answer = call.principal(), pb.ContributeRecordsResponse

        def look(c: Connection) -> tuple[Datanet, Any]:
            known = self._answers.idempotency.recall(c, caller.name, _CONTRIBUTE, header.request_id, same, answer)
            at = store_members.standing(c, declaration.datanet, caller)
            if known is None:
                at.must_give()
                store_use.check(c, caller.address, self._most_given)
            return at.datanet, known

        datanet, known = await self._answers.database.read(look)
        if known is None:
            declare.check_signed(declaration, datanet)
        with Upload(datanet, declaration, self._limits, self._room, self._vault) as upload:
            try:
                await _receive(requests, upload)
            except Fault as fault:
                raise (fault if known is None else _other_body(header.request_id)) from None
            if known is not None:
                return known  # type: ignore[no-any-return]
            response = await self._answers.once(
                _CONTRIBUTE, header.request_id, same, answer, lambda c: self._take(c, declaration, upload, caller)
            )
        for outcome in response.outcomes:
            self._outcomes.labels(outcome.reason or "ACCEPTED").inc()
        return response

    async def GetRecord(self, request: pb.GetRecordRequest, context: grpc.aio.ServicerContext) -> pb.Record:
        (datanet, record), viewer = names.match("datanets/*/records/*", request.name), call.principal()

        def look(c: Connection) -> pb.Record:
            at = store_members.standing(c, datanet, viewer)
            return self._shown(c, [store_records.get(c, datanet, record)], at)[0]

        return await self._answers.database.read(look)

    async def ListRecords(
        self, request: pb.ListRecordsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListRecordsResponse:
        (datanet,) = names.match("datanets/*", request.parent)
        contributor = wire.account_address(request.contributor) if request.contributor else ""
        question = f"records of {datanet} by {contributor}"
        after = pages.after(question, request.page_token, [int])
        viewer, size = call.principal(), pages.size(request.page_size)

        def look(c: Connection) -> pb.ListRecordsResponse:
            at = store_members.standing(c, datanet, viewer)
            rows = store_records.page(c, datanet, contributor, int(after[0]) if after else 0, size + 1)
            page, more = pages.cut(rows, size, lambda record: record.size)
            token = pages.token(question, [page[-1].number]) if more else ""
            return pb.ListRecordsResponse(records=self._shown(c, page, at), next_page_token=token)

        return await self._answers.database.read(look)

    async def SearchRecords(
        self, request: pb.SearchRecordsRequest, context: grpc.aio.ServicerContext
    ) -> pb.SearchRecordsResponse:
        (datanet,), viewer = names.match("datanets/*", request.parent), call.principal()
        wanted = search.words(request.query, "query")
        question, size = search.question(datanet, wanted), pages.size(request.page_size)
        after = pages.after(question, request.page_token, [int])

        def look(c: Connection) -> tuple[list[tuple[Record, Content]], int]:
            at = store_members.standing(c, datanet, viewer)
            readable = "" if at.owns else viewer.address
            texts = store_records.texts(c, self._vault, datanet, readable, int(after[0]) if after else 0)
            return search.among(texts, wanted, size)

        found, last = await self._answers.database.read(look)
        return pb.SearchRecordsResponse(
            records=[wire.record(*pair) for pair in found],
            next_page_token=pages.token(question, [last]) if last else "",
        )

    def _take(
        self, connection: Connection, declaration: Declaration, upload: Upload, caller: Principal
    ) -> pb.ContributeRecordsResponse:
        # Who was a member when the upload began may have been sent away meanwhile.
        store_members.standing(connection, declaration.datanet, caller).must_give()
        alike = store_records.read_alike(connection, self._vault, declaration, upload.candidates)
        others = [candidate for candidate in upload.candidates if candidate.index not in alike]
        first = store_records.take(connection, declaration, others, now())
        upload.check_current(store.get(connection, declaration.datanet))
        accepted = [candidate for candidate in others if first[candidate.index] == candidate.name]
        if accepted:
            given = Use(len(accepted), sum(candidate.size for candidate in accepted))
            store_use.add(connection, caller.address, given, self._most_given)
        named = {*map(_datanet_of, first.values()), *(earlier.datanet for earlier in alike.values())}
        hidden = {datanet for datanet in named if not _knows(connection, datanet, caller)}
        outcomes = [_rejected(index, refusal.reason, refusal.message) for index, refusal in upload.refusals.items()]
        outcomes += [_judged(candidate, first[candidate.index], hidden) for candidate in others]
        outcomes += [_alike(index, earlier, hidden) for index, earlier in alike.items()]
        outcomes.sort(key=lambda outcome: outcome.index)
        rejected = len(outcomes) - len(accepted)
        return pb.ContributeRecordsResponse(outcomes=outcomes, accepted=len(accepted), rejected=rejected)

    def _shown(self, connection: Connection, records: Collection[Record], at: Standing) -> list[pb.Record]:
        """With contents, of records that the caller may read."""
        readable = {r.id for r in records if at.caller.address and (at.owns or r.contributor == at.caller.address)}
        contents = store_records.contents(connection, self._vault, readable)
        erased = [record.id for record in records if record.state is RecordState.ERASED]
        trained = store_erasures.revisions(connection, erased) if erased else {}
        return [wire.record(r, contents.get(r.id), trained.get(r.id, ()), told=r.id in readable) for r in records]


async def _header(requests: AsyncIterator[pb.ContributeRecordsRequest]) -> pb.ContributionHeader:
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise invalid("HEADER_FIRST", "the first message of an upload must be its header", "header")
    return first.header


async def _receive(requests: AsyncIterator[pb.ContributeRecordsRequest], upload: Upload) -> None:
    async for message in requests:
        if message.WhichOneof("part") != "record":
            raise invalid("RECORDS_AFTER_HEADER", "after the header, every message must be a record", "record")
        if message.record.salt or message.record.HasField("image"):
            field = "record.salt" if message.record.salt else "record.image"
            raise invalid("NOT_OFFERED", f"{field}: is not offered; records are texts, and salts the service's", field)
        if sum(map(len, message.record.fields.values())) > _LONG:
            await asyncio.to_thread(upload.add, message.record.fields, message.record.source)
        else:
            upload.add(message.record.fields, message.record.source)
    upload.close()


def _judged(candidate: Candidate, first: str, hidden: Collection[str]) -> pb.RecordOutcome:
    """`first`: the name of the record that says it first, which is not told where it is in a `hidden` datanet."""
    if first == candidate.name:
        return pb.RecordOutcome(index=candidate.index, state=pb.RECORD_STATE_ACCEPTED, record=first)
    said = "a record of a private datanet" if _datanet_of(first) in hidden else first
    message = f"{said} said the same earlier, and its contributor stays the author"
    return _rejected(candidate.index, "DUPLICATE", message)


def _alike(index: int, earlier: Earlier, hidden: Collection[str]) -> pb.RecordOutcome:
    """Of a record that reads like an earlier one, of which nothing is told where it is in a `hidden` datanet."""
    told = earlier.datanet not in hidden
    said = f"{earlier.name} of {names.account(earlier.contributor)}" if told else "a record of a private datanet"
    outcome = _rejected(index, "NEAR_DUPLICATE", f"it reads like {said}, which came first, and this datanet takes none")
    outcome.first = earlier.name if told else ""
    return outcome


def _rejected(index: int, reason: str, message: str) -> pb.RecordOutcome:
    return pb.RecordOutcome(index=index, state=pb.RECORD_STATE_REJECTED, reason=reason, message=message)


def _datanet_of(record: str) -> str:
    return names.match("datanets/*/records/*", record)[0]


def _knows(connection: Connection, datanet: str, caller: Principal) -> bool:
    """Whether a caller may know what is in a datanet."""
    try:
        store_members.standing(connection, datanet, caller)
    except Fault:
        return False
    return True


def _other_body(request_id: str) -> Fault:
    return invalid(
        "REQUEST_ID_REUSED",
        f"request_id {request_id} was used for other records before; take a new one for a new upload",
        "header.request_id",
        request_id=request_id,
    )
