"""The trace document and its message, each from the other, exactly.

A trace is stored and hashed as a document (openledger/trace.py) and travels as a message.  Whoever gets the message
makes the same bytes of it again, so `from_proto(to_proto(t)) == t`; a document for which that would not hold is
refused here rather than changed on the way.

The document's forms: times are `2026-01-02T03:04:05.678901Z`, six decimals always.  `sampling` holds only whole numbers
and strings, because readers of JSON differ in what they make of fractions: temperature and the like are decimal
strings, in the spelling that RFC 8785 gives the number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from openledger import canonical, names
from openledger.context import TEMPLATE, Context, ContextRecord, Placed, known_version
from openledger.money import Price, parse_atomic
from openledger.openlora.v1 import openlora_pb2
from openledger.trace import Trace, parse

_FINISH: Mapping[str, openlora_pb2.FinishReason.ValueType] = {
    "stop": openlora_pb2.FINISH_REASON_STOP,
    "length": openlora_pb2.FINISH_REASON_LENGTH,
    "cancelled": openlora_pb2.FINISH_REASON_CANCELLED,
    "time": openlora_pb2.FINISH_REASON_TIME,
}
FINISH_REASONS: Mapping[int, str] = {number: name for name, number in _FINISH.items()}
"""Finish reasons of the API to the document's words for them."""
_FRACTIONS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
_AS_THEY_ARE = ("top_k", "seed", "logprobs", "json_schema")


def to_proto(trace: Trace) -> openlora_pb2.Trace:
    """The message of a trace.  Raises `ValueError` for a document that would not come back the same."""
    return openlora_pb2.Trace(
        response=trace.response,
        base=trace.base,
        base_sha256=trace.base_sha256,
        adapter=trace.adapter,
        prompt_token_ids=trace.prompt_token_ids,
        completion_token_ids=trace.completion_token_ids,
        sampling=sampling_to_proto(trace.sampling),
        finish_reason=finish_to_proto(trace.finish_reason),
        payer=trace.payer,
        lease=trace.lease,
        fee=str(trace.fee),
        platform_fee=str(trace.platform_fee),
        start_time=_time_to_proto(trace.start_time),
        end_time=_time_to_proto(trace.end_time),
        engine=trace.engine,
        context=None if trace.context is None else _context_to_proto(trace.context),
        price=None if trace.price is None else price_to_proto(trace.price),
        salt=bytes.fromhex(trace.salt),
        published=trace.published,
    )


def from_proto(message: openlora_pb2.Trace) -> Trace:
    """The trace in a message.  Raises `ValueError` that says what is wrong with it."""
    if message.finish_reason not in FINISH_REASONS:
        raise ValueError(f"the trace of {message.response[:80]!r} does not say why the answer ended")
    trace = Trace(
        response=message.response,
        base=message.base,
        base_sha256=message.base_sha256,
        adapter=message.adapter,
        prompt_token_ids=tuple(message.prompt_token_ids),
        completion_token_ids=tuple(message.completion_token_ids),
        sampling=sampling_from_proto(message.sampling),
        finish_reason=FINISH_REASONS[message.finish_reason],
        payer=message.payer,
        lease=message.lease,
        fee=parse_atomic(message.fee),
        platform_fee=parse_atomic(message.platform_fee),
        start_time=_time_from_proto(message.start_time),
        end_time=_time_from_proto(message.end_time),
        engine=message.engine,
        context=_context_from_proto(message.context) if message.HasField("context") else None,
        price=_price_from_proto(message) if message.HasField("price") else None,
        salt=message.salt.hex(),
        published=message.published,
    )
    return parse(trace.dumps())  # the document's own rules hold for what came over the wire, too


def record_to_proto(record: ContextRecord) -> openlora_pb2.ContextRecord:
    """The message of a record that is passed with a question."""
    values = vars(record) | {"contributor": names.account(record.contributor)}
    return openlora_pb2.ContextRecord(**values)


def record_from_proto(message: openlora_pb2.ContextRecord) -> ContextRecord:
    """The record in a message.  Raises `ValueError` for a contributor that is none."""
    return ContextRecord(
        snapshot=message.snapshot,
        leaf=message.leaf,
        size=message.size,
        path=tuple(message.path),
        contributor=names.account_address(message.contributor),
        fields=dict(message.fields),
        source=message.source,
        salt=message.salt,
    )


def finish_to_proto(reason: str) -> openlora_pb2.FinishReason.ValueType:
    """The message's word for why an answer ended.  Raises `ValueError` for any other reason."""
    if reason not in _FINISH:
        raise ValueError(f"{reason[:60]!r} is not how an answer ends: {' or '.join(_FINISH)}")
    return _FINISH[reason]


def sampling_from_proto(message: openlora_pb2.Sampling) -> dict[str, Any]:
    """The document of sampling parameters: what is not set is not there, except max_tokens and temperature."""
    document: dict[str, Any] = {
        "max_tokens": message.max_tokens,
        "temperature": decimal_text(message.temperature),
    }
    given = {field.name: value for field, value in message.ListFields()}
    document |= {name: decimal_text(given[name]) for name in _FRACTIONS if name in given}
    document |= {name: given[name] for name in _AS_THEY_ARE if name in given}
    if message.stop:
        document["stop"] = list(message.stop)
    return document


def sampling_to_proto(document: Mapping[str, Any]) -> openlora_pb2.Sampling:
    """The message of sampling parameters.  Raises `ValueError` for what the message cannot hold."""
    read: dict[str, Callable[[Any], Any]] = dict.fromkeys(_FRACTIONS, _fraction)
    try:
        message = openlora_pb2.Sampling(
            **{name: read.get(name, lambda v: v)(value) for name, value in document.items()}
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"not sampling parameters: {error}") from error
    if sampling_from_proto(message) != document:
        raise ValueError("the sampling parameters are not in their canonical form")
    return message


def price_to_proto(price: Price) -> openlora_pb2.TokenPrice:
    """The message of what tokens cost."""
    return openlora_pb2.TokenPrice(per_1k_in=str(price.per_1k_in), per_1k_out=str(price.per_1k_out))


def decimal_text(value: float) -> str:
    """A finite number as RFC 8785 spells it: `0.7`, `1`, `1e-7`.  Raises `ValueError` for any other."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return canonical.dumps(float(value)).decode()


def time_text(moment: datetime) -> str:
    """A moment as documents write it: RFC 3339 in UTC with six decimals."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _context_to_proto(context: Context) -> openlora_pb2.Context:
    placed = [
        openlora_pb2.PlacedRecord(record=record_to_proto(each.record), root=each.root, tokens=each.tokens)
        for each in context.records
    ]
    return openlora_pb2.Context(
        template=TEMPLATE, start=context.start, opening=context.opening, records=placed, compared=context.compared
    )


def _context_from_proto(message: openlora_pb2.Context) -> Context:
    if message.template != TEMPLATE:
        raise ValueError(f"the records are rendered by {message.template[:60]!r}, known here is {TEMPLATE}")
    placed = (Placed(record_from_proto(each.record), each.root, each.tokens) for each in message.records)
    return Context(message.start, message.opening, tuple(placed), known_version(message.compared or 1))


def _price_from_proto(message: openlora_pb2.Trace) -> Price:
    amounts = (message.price.per_1k_in, message.price.per_1k_out, message.platform_fee)
    return Price(*map(parse_atomic, amounts))


def _fraction(text: Any) -> float:
    if not isinstance(text, str):
        raise ValueError("fractions are decimal strings")  # noqa: TRY004 - one error for a bad document
    return float(text)


def _time_to_proto(text: str) -> Timestamp:
    stamp = Timestamp()
    stamp.FromJsonString(text)
    if _time_from_proto(stamp) != text:
        raise ValueError(f"{text[:60]!r} is not a time with six decimals in UTC")
    return stamp


def _time_from_proto(stamp: Timestamp) -> str:
    if stamp.nanos % 1000:
        raise ValueError("times have six decimals")
    return time_text(stamp.ToDatetime(UTC))
