"""Transport of records: uploads in, records out to those who may see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
from prometheus_client import Counter
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import declare, pages, store, store_records, wire
from services.datanet.answers import Answers, now
from services.datanet.declare import Declaration
from services.datanet.model import Datanet, Record
from services.datanet.upload import Limits, Room, Upload
from services.kit import call
from services.kit.errors import Fault, invalid

_CONTRIBUTE = "ContributeRecords"


class RecordMethods:
    """RPCs about records."""

    def __init__(self, answers: Answers, limits: Limits, room: Room, outcomes: Counter) -> None:
        self._answers = answers
        self._limits, self._room, self._outcomes = limits, room, outcomes

    async def ContributeRecords(
        self, requests: AsyncIterator[pb.ContributeRecordsRequest], context: grpc.aio.ServicerContext
    ) -> pb.ContributeRecordsResponse:
        header = await _header(requests)
        declaration, same = wire.declaration(header), wire.unsigned(header)
        call.must_be(declaration.contributor)
        caller, answer = call.principal().name, pb.ContributeRecordsResponse

        def look(c: Connection) -> tuple[Datanet, Any]:
            known = self._answers.idempotency.recall(c, caller, _CONTRIBUTE, header.request_id, same, answer)
            return store.get(c, declaration.datanet), known

        datanet, known = await self._answers.database.read(look)
        if known is None:
            declare.check_signed(declaration, datanet)
        with Upload(datanet, declaration, self._limits, self._room) as upload:
            try:
                await _receive(requests, upload)
            except Fault as fault:
                raise (fault if known is None else _other_body(header.request_id)) from None
            if known is not None:
                return known  # type: ignore[no-any-return]
            response = await self._answers.once(
                _CONTRIBUTE, header.request_id, same, answer, lambda c: _take(c, declaration, upload)
            )
        for outcome in response.outcomes:
            self._outcomes.labels(outcome.reason or "ACCEPTED").inc()
        return response

    async def GetRecord(self, request: pb.GetRecordRequest, context: grpc.aio.ServicerContext) -> pb.Record:
        datanet, record = names.match("datanets/*/records/*", request.name)
        viewer = call.principal().address

        def look(c: Connection) -> pb.Record:
            return _shown(c, [store_records.get(c, datanet, record)], _who_sees(c, datanet, viewer))[0]

        return await self._answers.database.read(look)

    async def ListRecords(
        self, request: pb.ListRecordsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListRecordsResponse:
        (datanet,) = names.match("datanets/*", request.parent)
        contributor = wire.account_address(request.contributor) if request.contributor else ""
        question = f"records of {datanet} by {contributor}"
        after = pages.after(question, request.page_token, [int])
        viewer, size = call.principal().address, pages.size(request.page_size)

        def look(c: Connection) -> pb.ListRecordsResponse:
            sees = _who_sees(c, datanet, viewer)
            rows = store_records.page(c, datanet, contributor, int(after[0]) if after else 0, size + 1)
            page, more = pages.cut(rows, size, lambda record: record.size)
            token = pages.token(question, [page[-1].number]) if more else ""
            return pb.ListRecordsResponse(records=_shown(c, page, sees), next_page_token=token)

        return await self._answers.database.read(look)


async def _header(requests: AsyncIterator[pb.ContributeRecordsRequest]) -> pb.ContributionHeader:
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise invalid("HEADER_FIRST", "the first message of an upload must be its header", "header")
    return first.header


async def _receive(requests: AsyncIterator[pb.ContributeRecordsRequest], upload: Upload) -> None:
    async for message in requests:
        if message.WhichOneof("part") != "record":
            raise invalid("RECORDS_AFTER_HEADER", "after the header, every message must be a record", "record")
        upload.add(message.record.fields, message.record.source)
    upload.close()


def _take(connection: Connection, declaration: Declaration, upload: Upload) -> pb.ContributeRecordsResponse:
    first = store_records.take(connection, declaration, upload.candidates, now())
    outcomes = [
        pb.RecordOutcome(index=index, state=pb.RECORD_STATE_REJECTED, reason=refusal.reason, message=refusal.message)
        for index, refusal in upload.refusals.items()
    ]
    for candidate in upload.candidates:
        name = first[candidate.index]
        if name == candidate.name:
            outcomes.append(pb.RecordOutcome(index=candidate.index, state=pb.RECORD_STATE_ACCEPTED, record=name))
        else:
            message = f"{name} said the same earlier, and its contributor stays the author"
            outcomes.append(
                pb.RecordOutcome(
                    index=candidate.index, state=pb.RECORD_STATE_REJECTED, reason="DUPLICATE", message=message
                )
            )
    outcomes.sort(key=lambda outcome: outcome.index)
    accepted = sum(outcome.state == pb.RECORD_STATE_ACCEPTED for outcome in outcomes)
    return pb.ContributeRecordsResponse(outcomes=outcomes, accepted=accepted, rejected=len(outcomes) - accepted)


def _who_sees(connection: Connection, datanet: str, viewer: str) -> Any:
    owner = store.get(connection, datanet).owner
    return lambda record: viewer != "" and viewer in (owner, record.contributor)


def _shown(connection: Connection, records: Collection[Record], sees: Any) -> list[pb.Record]:
    contents = store_records.contents(connection, [record.id for record in records if sees(record)])
    return [wire.record(record, contents.get(record.id)) for record in records]


def _other_body(request_id: str) -> Fault:
    return invalid(
        "REQUEST_ID_REUSED",
        f"request_id {request_id} was used for other records before; take a new one for a new upload",
        "header.request_id",
        request_id=request_id,
    )
