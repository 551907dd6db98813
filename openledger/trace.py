"""The trace of one answer as a document: everything that is needed to compute again whose data shaped it.

Its SHA-256 stands in the receipt.  The document holds token ids, not text: what was answered is what is attributed,
however it is shown.  Records that an app passed with its question stand in it as they were given, with their proofs;
such a trace is of another version, and one without them is what it was before there were any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from openledger import canonical, context, names
from openledger.context import Context
from openledger.money import parse_atomic

VERSION = "openledger.trace.v1"
WITH_RECORDS = "openledger.trace.v2"
"""Of an answer to a question with records."""


@dataclass(frozen=True)
class Trace:
    """One answer.  `adapter` is empty for the base model; times are RFC 3339 in UTC; amounts are atomic units."""

    response: str
    base: str
    base_sha256: str
    adapter: str
    prompt_token_ids: tuple[int, ...]
    completion_token_ids: tuple[int, ...]
    sampling: Mapping[str, Any]
    finish_reason: str
    payer: str
    lease: str
    fee: int
    platform_fee: int
    start_time: str
    end_time: str
    engine: str
    context: Context | None = None

    def to_json(self) -> dict[str, Any]:
        """The document."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document |= {
            "version": VERSION,
            "prompt_token_ids": list(self.prompt_token_ids),
            "completion_token_ids": list(self.completion_token_ids),
            "sampling": dict(self.sampling),
            "fee": str(self.fee),
            "platform_fee": str(self.platform_fee),
        }
        if self.context is None:
            del document["context"]
            return document
        return document | {"version": WITH_RECORDS, "context": self.context.to_json()}

    def dumps(self) -> bytes:
        """Canonical bytes; what is stored, hashed and published."""
        return canonical.dumps(self.to_json())

    def digest(self) -> str:
        """Hex SHA-256 of the canonical bytes."""
        return canonical.sha256(self.dumps())


def parse(data: bytes) -> Trace:
    """A trace from its canonical bytes.  Raises `ValueError` that says what is wrong with them."""
    try:
        document = canonical.loads(data)
        version = document.pop("version")
        if version not in (VERSION, WITH_RECORDS) or ("context" in document) != (version == WITH_RECORDS):
            raise ValueError(f"not an {VERSION} document, nor an {WITH_RECORDS} with its records")
        trace = Trace(
            **document
            | {
                "prompt_token_ids": _token_ids(document["prompt_token_ids"]),
                "completion_token_ids": _token_ids(document["completion_token_ids"]),
                "fee": parse_atomic(document["fee"]),
                "platform_fee": parse_atomic(document["platform_fee"]),
                "context": context.from_json(document["context"]) if version == WITH_RECORDS else None,
            }
        )
        _check_types(trace)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a trace document: {error}") from error
    names.match("responses/*", trace.response)
    names.account_address(trace.payer)
    if trace.adapter:
        names.match("adapters/*/revisions/*", trace.adapter)
    if trace.context is not None and trace.dumps() != data:
        raise ValueError("the trace's records have fields that do not belong there, or other spellings")
    return trace


def _check_types(trace: Trace) -> None:
    for field in fields(trace):
        if field.type == "str" and not isinstance(getattr(trace, field.name), str):
            raise TypeError(f"{field.name} is not a text")
    if not isinstance(trace.sampling, dict):
        raise TypeError("sampling is not an object")


def _token_ids(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v < 2**31 for v in values):
        raise ValueError("token ids are whole numbers from 0")
    return tuple(values)
