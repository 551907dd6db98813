"""Transport of traces: what was asked and answered, to who paid for it and to operators; and that it be forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc

from openledger import canonical, names
from openledger.attribution.v1 import attribution_pb2 as pb
from services.attribution.desk import Desk
from services.attribution.traces import TraceGone, Traces
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.errors import Fault, invalid, precondition

ACCESS = {"GetReceiptTrace": ACCOUNTS, "ForgetAnswers": ACCOUNTS}
_AHEAD = timedelta(minutes=5)
"""By how much clocks may differ."""


class TraceMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk, traces: Traces) -> None:
        self._desk, self._traces = desk, traces

    async def GetReceiptTrace(
        self, request: pb.GetReceiptTraceRequest, context: grpc.aio.ServicerContext
    ) -> pb.ReceiptTrace:
        response, sha256 = await self._desk.trace_of(request.name, request.wait_seconds)
        try:
            document = await self._traces.document(response, sha256)
        except TraceGone as error:
            raise precondition("TRACE_GONE", str(error), response=response) from None
        except ValueError as error:  # also of artifacts, and of boxes
            text = f"the trace of {response} is damaged: {error}. Tell an operator"
            raise Fault(grpc.StatusCode.DATA_LOSS, "TRACE_DAMAGED", text, metadata={"response": response}) from error
        return pb.ReceiptTrace(name=request.name, document=document, sha256=canonical.sha256(document))

    async def ForgetAnswers(
        self, request: pb.ForgetAnswersRequest, context: grpc.aio.ServicerContext
    ) -> pb.ForgetAnswersResponse:
        before = _before(request)
        await self._traces.forget(names.account(call.principal().address), before)
        forgotten = pb.ForgetAnswersResponse()
        forgotten.before_time.FromDatetime(before)
        return forgotten


def _before(request: pb.ForgetAnswersRequest) -> datetime:
    now = datetime.now(UTC)
    if not request.HasField("before_time"):
        return now
    try:
        before: datetime = request.before_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise invalid("BAD_TIME", "before_time is no time", "before_time") from None
    if before > now + _AHEAD:
        text = f"before_time is {before:%Y-%m-%dT%H:%M:%SZ}, and it is {now:%Y-%m-%dT%H:%M:%SZ}: take a time that was"
        raise invalid("BAD_TIME", text, "before_time")
    return before
