"""Transport of records: uploads in, records out to those who may see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from functools import partial
from typing import Any

import grpc
from prometheus_client import Counter
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import (
    declare,
    outcomes,
    pages,
    search,
    store,
    store_erasures,
    store_members,
    store_records,
    store_screenings,
    store_use,
    wire,
)
from services.datanet.answers import Answers, now
from services.datanet.comparing import Comparing
from services.datanet.declare import Declaration
from services.datanet.members import Standing
from services.datanet.model import Content, Datanet, Record, RecordState
from services.datanet.screeners import Screeners
from services.datanet.store_alike import Looked
from services.datanet.store_use import Use
from services.datanet.turns import Turns
from services.datanet.upload import Limits, Room, Upload
from services.datanet.vault import Vault
from services.kit import call
from services.kit.auth import ACCOUNTS, OPEN, Principal
from services.kit.errors import Fault, invalid
from services.kit.wait import to_its_end

ACCESS = {
    "ContributeRecords": ACCOUNTS,
    "GetRecord": OPEN,
    "ListRecords": OPEN,
    "SearchRecords": ACCOUNTS,
}
_CONTRIBUTE = "ContributeRecords"
_AT_ONCE = 4
"""Uploads of an account that are received; more of its own wait before their first record, and take no memory."""
_LONG = 2**14
"""Characters of a record from which on others do not wait until it is read: some ten milliseconds."""


class RecordMethods:
    """RPCs about records.  `most`: what an account may give in all datanets together."""

    def __init__(
        self,
        answers: Answers,
        vault: Vault,
        most: Use,
        limits: Limits,
        room: Room,
        screeners: Screeners,
        outcomes: Counter,
        comparing: Comparing,
    ) -> None:
        self._answers, self._vault, self._most_given = answers, vault, most
        self._limits, self._room, self._screeners, self._outcomes = limits, room, screeners, outcomes
        self._turns, self._comparing = Turns(_AT_ONCE), comparing

    async def ContributeRecords(
        self, requests: AsyncIterator[pb.ContributeRecordsRequest], context: grpc.aio.ServicerContext
    ) -> pb.ContributeRecordsResponse:
        header = await _header(requests)
        declaration, same = wire.declaration(header), wire.unsigned(header)
        # What is kept of the request must not tell whoever guesses a text that was refused.
        same.declaration.content_root = self._vault.token("root", declaration.content_root)
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
        # What was suggested is not kept with the answer: it is found again, where there was anything.
        asked = None if known is None else {o.index for o in known.outcomes if outcomes.asks_for_another(o)}
        async with self._turns.of(caller.name):
            with Upload(datanet, declaration, self._limits, self._room, self._vault, asked) as upload:
                try:
                    await self._receive(requests, upload)
                except Fault as fault:
                    other = known is not None and fault.reason == declare.MISMATCH
                    raise (_other_body(header.request_id) if other else fault) from None
                response = known or await self._in_turn(same, declaration, upload, caller)
                outcomes.suggest(response, upload)
        if known is None:
            for outcome in response.outcomes:
                waits = outcome.state == pb.RECORD_STATE_SCREENED
                self._outcomes.labels("WAITING" if waits else outcome.reason or "ACCEPTED").inc()
        return response

    async def GetRecord(self, request: pb.GetRecordRequest, context: grpc.aio.ServicerContext) -> pb.Record:
        (datanet, record), viewer = names.match("datanets/*/records/*", request.name), call.principal()

        def look(c: Connection) -> pb.Record:
            at = store_members.standing(c, datanet, viewer)
            return self._shown(c, [store_records.get(c, datanet, record, viewer.address)], at)[0]

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
            start = int(after[0]) if after else 0
            rows = store_records.page(c, datanet, contributor, start, size + 1, viewer.address)
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
            start = int(after[0]) if after else 0
            texts = store_records.texts(c, self._vault, datanet, readable, start, viewer.address)
            return search.among(texts, wanted, size)

        found, last = await self._answers.database.read(look)
        return pb.SearchRecordsResponse(
            records=[wire.record(*pair) for pair in found],
            next_page_token=pages.token(question, [last]) if last else "",
        )

    async def _in_turn(
        self, same: pb.ContributionHeader, declaration: Declaration, upload: Upload, caller: Principal
    ) -> pb.ContributeRecordsResponse:
        """What becomes of a whole upload: compared beside others, and taken in its turn."""

        async def take(looked: Looked | None) -> pb.ContributeRecordsResponse:
            act = partial(self._take, declaration=declaration, upload=upload, caller=caller, looked=looked)
            return await self._answers.once(
                _CONTRIBUTE, declaration.request_id, same, pb.ContributeRecordsResponse, act
            )

        texts = [candidate.text for candidate in upload.candidates]
        return await self._comparing.in_turn(caller.name, upload.policy, texts, upload.hold, take)

    def _take(
        self,
        connection: Connection,
        declaration: Declaration,
        upload: Upload,
        caller: Principal,
        looked: Looked | None,
    ) -> pb.ContributeRecordsResponse:
        # Who was a member when the upload began may have been sent away meanwhile.
        at = store_members.standing(connection, declaration.datanet, caller)
        at.must_give()
        upload.check_current(at.datanet)  # before anybody waits, and for good once the datanet is locked
        alike = store_records.read_alike(connection, self._vault, declaration, upload.candidates, looked)
        others = [candidate for candidate in upload.candidates if candidate.index not in alike]
        first = store_records.take(connection, declaration, others, now())
        datanet = store.get(connection, declaration.datanet)
        upload.check_current(datanet)
        # Those that wait are kept as well, and count for what an account may give.
        accepted = [candidate for candidate in others if first[candidate.index] == candidate.name]
        if accepted:
            given = Use(len(accepted), sum(candidate.size for candidate in accepted))
            store_use.add(connection, caller.address, given, self._most_given)
        named = {*first.values(), *(earlier.name for earlier in alike.values())}
        closed = {d for d in map(outcomes.datanet_of, named) if not _knows(connection, d, caller)}
        hidden = {name for name in named if outcomes.datanet_of(name) in closed}
        hidden |= store_records.others_that_wait(connection, named - hidden, caller.address)
        return outcomes.answer(upload, first, alike, hidden, datanet.definition.policy)

    async def _receive(self, requests: AsyncIterator[pb.ContributeRecordsRequest], upload: Upload) -> None:
        """All records, each looked at as far as the datanet's policy asks for that."""
        async for message in requests:
            if message.WhichOneof("part") != "record":
                raise invalid("RECORDS_AFTER_HEADER", "after the header, every message must be a record", "record")
            if message.record.salt or message.record.HasField("image"):
                field = "record.salt" if message.record.salt else "record.image"
                raise invalid(
                    "NOT_OFFERED", f"{field}: is not offered; records are texts, and salts the service's", field
                )
            if sum(map(len, message.record.fields.values())) > _LONG:
                await to_its_end(upload.add, message.record.fields, message.record.source)
            else:
                upload.add(message.record.fields, message.record.source)
            if upload.batch_is_full:
                await self._look(upload)
        await self._look(upload)
        upload.close()

    async def _look(self, upload: Upload) -> None:
        if upload.unseen:
            found = await self._screeners.look(upload.unseen, upload.policy, upload.contributor)
            await to_its_end(upload.judge, found)

    def _shown(self, connection: Connection, records: Collection[Record], at: Standing) -> list[pb.Record]:
        """With contents, of records that the caller may read."""
        readable = {r.id for r in records if at.caller.address and (at.owns or r.contributor == at.caller.address)}
        contents = store_records.contents(connection, self._vault, readable)
        found = store_screenings.findings(connection, readable)
        erased = [record.id for record in records if record.state is RecordState.ERASED]
        trained = store_erasures.revisions(connection, erased) if erased else {}
        return [
            wire.record(
                r, contents.get(r.id), trained.get(r.id, ()), findings=found.get(r.id, ()), told=r.id in readable
            )
            for r in records
        ]


async def _header(requests: AsyncIterator[pb.ContributeRecordsRequest]) -> pb.ContributionHeader:
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise invalid("HEADER_FIRST", "the first message of an upload must be its header", "header")
    return first.header


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
