"""A trace as it lies on disk: its text sealed for its payer, and in clear what the books need of it.

Sealed by AES-256-GCM under a data key of the payer's.  What is in clear, and the entry's key in the log, are
authenticated with the text: neither can be moved to another answer.  The SHA-256 in clear stands in the receipt, too;
it commits to the text and does not tell it.  Entries written before there were seals are traces as they are, and are
read like the others.  Knows no database, and not where keys come from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from openledger import canonical
from openledger.trace import Trace, parse
from services.kit.sealing import DataKey, bound, close, open_box

VERSION = "openledger.sealed.v1"


@dataclass(frozen=True)
class Head:
    """What is in clear of an answer.  `fee` in atomic units; `time`: when it ended, RFC 3339 in UTC."""

    payer: str
    lease: str
    fee: int
    trace_sha256: str
    tokens_in: int
    tokens_out: int
    finish_reason: str
    time: str


def seal(trace: Trace, entry: str, key: DataKey) -> bytes:
    """The bytes to keep of a trace under the key `entry` of the log."""
    text = trace.dumps()
    head = vars(_head(trace, canonical.sha256(text))) | {"fee": str(trace.fee)}
    document = head | {"version": VERSION, "data_key": key.name}
    return canonical.dumps(document | {"box": close(key.secret, text, bound(document, entry))})


def head_of(entry: bytes) -> Head:
    """What is in clear of an entry, sealed or not."""
    document = json.loads(entry)
    if document["version"] != VERSION:
        return _head(parse(entry), canonical.sha256(entry))
    names = Head.__dataclass_fields__
    return Head(**{name: document[name] for name in names} | {"fee": int(document["fee"])})


def data_key_of(entry: bytes) -> str:
    """The name of the key that opens an entry; empty for one that is not sealed."""
    return str(json.loads(entry).get("data_key", ""))


def unseal(payload: bytes, entry: str, secret: bytes) -> Trace:
    """The trace in the payload of the entry of that key; an entry that is not sealed needs no secret.

    Raises `Unopened`, and `ValueError` for bytes that are no entry.
    """
    document = json.loads(payload)
    if document["version"] != VERSION:
        return parse(payload)
    box = document.pop("box")
    return parse(open_box(secret, box, bound(document, entry)))


def _head(trace: Trace, digest: str) -> Head:
    return Head(
        payer=trace.payer,
        lease=trace.lease,
        fee=trace.fee,
        trace_sha256=digest,
        tokens_in=len(trace.prompt_token_ids),
        tokens_out=len(trace.completion_token_ids),
        finish_reason=trace.finish_reason,
        time=trace.end_time,
    )
