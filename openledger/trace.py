"""The trace of one answer as a document: everything that is needed to compute again whose data shaped it.

Its SHA-256 stands in the receipt.  The document holds token ids, not text: what was answered is what is attributed,
however it is shown.  Records that an app passed with its question stand in it as they were given, with their proofs.
It says what the model's tokens cost, and its fee is what follows from that and nothing else; traces of before there
were prices by model do not, and are of the two earlier versions, with records and without.

A salt makes the SHA-256 a commitment that hides: whoever guesses question and answer cannot find out by it that the
guess is right.  Traces of the three earlier versions have none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from openledger import canonical, context, names
from openledger.context import Context
from openledger.money import Price, parse_atomic

VERSION = "openledger.trace.v1"
WITH_RECORDS = "openledger.trace.v2"
"""Of an answer to a question with records."""
PRICED = "openledger.trace.v3"
"""With the model's price, and with records if there were any."""
SALTED = "openledger.trace.v4"
"""With a price, a salt, and whether its payer lets everybody have it."""
_SALT = re.compile(r"[0-9a-f]{64}\Z")

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


@dataclass(frozen=True)
class Trace:
    """One answer.  `adapter` is empty for the base model; times are RFC 3339 in UTC; amounts are atomic units.

    `salt`: 64 hex digits at random, empty in the earlier versions.  `published`: its payer lets everybody have it.
    """

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
    price: Price | None = None
    salt: str = ""
    published: bool = False

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
        del document["context"], document["price"], document["salt"], document["published"]
        if self.context is not None:
            document |= {"version": WITH_RECORDS, "context": self.context.to_json()}
        if self.price is not None:
            rates = {"per_1k_in": str(self.price.per_1k_in), "per_1k_out": str(self.price.per_1k_out)}
            document |= {"version": PRICED, "price": rates}
        if self.salt:
            document |= {"version": SALTED, "salt": self.salt, "published": self.published}
        return document

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
        if document.pop("version") != _version(document):
            raise ValueError(
                f"not an {VERSION} document, nor {WITH_RECORDS} with records, nor {PRICED} with a price, nor {SALTED} "
                "with price, salt and word on who may have it"
            )
        if "salt" in document and not _SALT.match(document["salt"]):
            raise ValueError("the trace's salt is not 64 lower-case hex digits")
        trace = Trace(
            **document
            | {
                "prompt_token_ids": _token_ids(document["prompt_token_ids"]),
                "completion_token_ids": _token_ids(document["completion_token_ids"]),
                "fee": parse_atomic(document["fee"]),
                "platform_fee": parse_atomic(document["platform_fee"]),
                "context": context.from_json(document["context"]) if "context" in document else None,
                "price": _price(document) if "price" in document else None,
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
    _check_fee(trace)
    return trace


def _version(document: Mapping[str, Any]) -> str:
    """By what stands in it; empty for what stands together in none."""
    salted = {"salt", "published"} & document.keys()
    if salted:
        return SALTED if len(salted) == 2 and "price" in document else ""
    return PRICED if "price" in document else WITH_RECORDS if "context" in document else VERSION


def unix_seconds(time: str) -> int:
    """Unix seconds, rounded down, of a time as traces write it: RFC 3339, UTC, six decimals.  Raises `ValueError`."""
    if not _TIME.fullmatch(time):
        raise ValueError(f"{time[:60]!r} is not a time in UTC with six decimals")
    return int(datetime.fromisoformat(time[:19]).replace(tzinfo=UTC).timestamp())


def _price(document: Mapping[str, Any]) -> Price:
    rates = {name: parse_atomic(amount) for name, amount in document["price"].items()}
    return Price(**rates, platform_fee=parse_atomic(document["platform_fee"]))


def _check_fee(trace: Trace) -> None:
    if trace.price is None:
        return
    due = trace.price.fee(len(trace.prompt_token_ids), len(trace.completion_token_ids))
    if trace.fee != due or trace.platform_fee != trace.price.platform_fee:
        raise ValueError(f"the trace's fee is {trace.fee}, and by its price and tokens it is {due}")


def _check_types(trace: Trace) -> None:
    for field in fields(trace):
        if field.type == "str" and not isinstance(getattr(trace, field.name), str):
            raise TypeError(f"{field.name} is not a text")
    if not isinstance(trace.sampling, dict):
        raise TypeError("sampling is not an object")
    if type(trace.published) is not bool:
        raise TypeError("whether it is published is neither true nor false")


def _token_ids(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v < 2**31 for v in values):
        raise ValueError("token ids are whole numbers from 0")
    return tuple(values)
