"""Attribution's gRPC API: receipts for those they concern, the stream for the ledger, dead letters for operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import grpc

from openledger import canonical, names
from openledger import receipt as receipts
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.attribution.v1 import attribution_pb2_grpc
from openledger.receipt import Receipt
from services.attribution import servicer_contribution, servicer_explain, servicer_traces, store
from services.attribution.desk import Desk
from services.attribution.explain import Explainer
from services.attribution.model_audit import ModelAudits
from services.attribution.servicer_contribution import ContributionMethods
from services.attribution.servicer_explain import ExplainMethods
from services.attribution.servicer_traces import TraceMethods
from services.attribution.store import DeadLetter, StoredReceipt
from services.attribution.traces import Traces
from services.kit import call
from services.kit.auth import ACCOUNTS, PUBLIC, services
from services.kit.errors import denied, invalid

ACCESS = {
    "GetReceipt": services("ledger", accounts=True),
    "ListReceipts": ACCOUNTS,
    "ReadReceipts": services("ledger"),
    "WatchReceipts": services("ledger"),
    "ListDeadLetters": ACCOUNTS,
    "GetModelAudit": PUBLIC,
    **servicer_explain.ACCESS,
    **servicer_contribution.ACCESS,
    **servicer_traces.ACCESS,
}
_PAGE, _WATCH_SECONDS = 50, 20.0
_MAX_NUMBER = 2**63 - 1


class AttributionServicer(
    ExplainMethods, ContributionMethods, TraceMethods, attribution_pb2_grpc.AttributionServiceServicer
):
    """proto/openledger/attribution/v1."""

    def __init__(self, desk: Desk, explainer: Explainer, traces: Traces) -> None:
        ExplainMethods.__init__(self, desk, explainer)
        ContributionMethods.__init__(self, desk)
        TraceMethods.__init__(self, desk, traces)
        self._audits = ModelAudits(desk.database, desk.artifacts)

    async def GetReceipt(self, request: pb.GetReceiptRequest, context: grpc.aio.ServicerContext) -> pb.Receipt:
        return _receipt(*await self._desk.concerning(request.name, request.wait_seconds))

    async def ListReceipts(
        self, request: pb.ListReceiptsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListReceiptsResponse:
        payer, before = names.account(call.principal().address), _page_token(request.page_token)
        size, most = request.page_size or _PAGE, self._desk.page_bytes
        page, more = await self._desk.database.read(lambda c: store.receipts_of(c, payer, before, size, most))
        return pb.ListReceiptsResponse(
            receipts=[_receipt(row, receipts.parse(row.document)) for row in page],
            next_page_token=str(page[-1].offset) if more else "",
        )

    async def ReadReceipts(
        self, request: pb.ReadReceiptsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ReadReceiptsResponse:
        return await self._read(request.after_offset, request.max_entries, request.wait_seconds)

    async def WatchReceipts(
        self, request: pb.WatchReceiptsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ReadReceiptsResponse]:
        after = request.after_offset
        while True:
            reply = await self._read(after, request.max_entries, _WATCH_SECONDS)
            if reply.entries:
                after = reply.entries[-1].offset
                yield reply

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListDeadLettersResponse:
        if call.principal().address not in self._desk.operators:
            raise denied(
                "OPERATORS_ONLY", "dead letters are for operators: OPENLEDGER_ATTRIBUTION_OPERATORS names them"
            )
        before, size = _page_token(request.page_token), request.page_size or _PAGE
        rows = await self._desk.database.read(lambda c: store.dead_letters(c, before, size + 1))
        return pb.ListDeadLettersResponse(
            dead_letters=[_dead_letter(row) for row in rows[:size]],
            next_page_token=str(rows[size - 1].number) if len(rows) > size else "",
        )

    async def GetModelAudit(self, request: pb.GetModelAuditRequest, context: grpc.aio.ServicerContext) -> pb.ModelAudit:
        return await self._audits.get(request.revision)

    async def _read(self, after: int, limit: int, wait: float) -> pb.ReadReceiptsResponse:
        if after > _MAX_NUMBER:
            raise invalid("BAD_OFFSET", "after_offset is beyond every offset that there can be", "after_offset")
        batch = await self._desk.receipts.read(after, limit or _PAGE, wait, self._desk.page_bytes)
        times = await self._desk.database.read(lambda c: store.times(c, [entry.offset for entry in batch.entries]))
        rows = [StoredReceipt(entry.offset, entry.payload, times[entry.offset]) for entry in batch.entries]
        return pb.ReadReceiptsResponse(
            entries=[
                pb.ReceiptEntry(offset=row.offset, receipt=_receipt(row, receipts.parse(row.document))) for row in rows
            ],
            high_watermark=batch.high_watermark,
            log_epoch=batch.epoch,
        )


def _receipt(row: StoredReceipt, document: Receipt) -> pb.Receipt:
    message = pb.Receipt(
        name="receipts/" + document.response.removeprefix("responses/"),
        response=document.response,
        payer=document.payer,
        document=row.document,
        sha256=canonical.sha256(row.document),
        shares={key: str(amount) for key, amount in document.shares.items()},
        fee=str(document.fee),
    )
    _set_time(message, row.create_time)
    return message


def _dead_letter(row: DeadLetter) -> pb.DeadLetter:
    refused = row.refused
    message = pb.DeadLetter(
        name=f"deadLetters/{refused.key}",
        reason=refused.reason,
        message=refused.message,
        trace_sha256=refused.trace_sha256,
    )
    _set_time(message, row.create_time)
    return message


def _set_time(message: Any, moment: datetime) -> None:
    message.create_time.FromDatetime(moment)


def _page_token(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_NUMBER):
        raise invalid("BAD_PAGE_TOKEN", "the page_token is not one that this method gave", "page_token")
    return int(text)
