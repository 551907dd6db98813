"""The port to whoever writes roots on chain, and its implementation: the Ledger, over gRPC.

An anchoring asked for again under the same request id is the same anchoring, however often and after whatever crash.
"""

from __future__ import annotations

import uuid
from typing import Protocol

import grpc

from openledger.client import ApiError, Client
from openledger.ledger.v1 import ledger_pb2
from services.datanet.model import Anchor, Snapshot

_NAMESPACE = uuid.UUID("5a2f6f0e-6a1d-5b0c-9a55-0d0a7a6e7401")
_PASSING = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)


class NotAnchored(Exception):
    """A root is not on chain yet; `reason` says why.  `final` when this request will never be answered otherwise."""

    def __init__(self, reason: str, message: str, *, final: bool) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.final = reason, final


class Anchors(Protocol):
    """Writes roots on chain."""

    async def anchor(self, snapshot: Snapshot) -> Anchor:
        """Returns once the root is final on chain.  Raises `NotAnchored`."""


class LedgerAnchors:
    """The Ledger's AnchorSnapshot.  `seconds` bounds how long one call waits for the chain."""

    def __init__(self, ledger: Client, seconds: float) -> None:
        self._ledger, self._seconds = ledger, seconds

    async def anchor(self, snapshot: Snapshot) -> Anchor:
        """See `Anchors.anchor`."""
        request = ledger_pb2.AnchorSnapshotRequest(
            snapshot=snapshot.name,
            root=snapshot.root,
            record_count=snapshot.record_count,
            request_id=anchor_request_id(snapshot),
        )
        try:
            operation = await self._ledger.call(self._ledger.ledger.AnchorSnapshot, request)
            done = await self._ledger.wait("ledger", operation, ledger_pb2.Anchoring, self._seconds)
        except TimeoutError as error:
            raise NotAnchored("TOO_SLOW", str(error), final=False) from None
        except ApiError as error:
            raise NotAnchored(error.reason, error.message, final=error.code not in _PASSING) from None
        return Anchor(done.chain_id, done.contract, done.transaction, done.block)


def anchor_request_id(snapshot: Snapshot) -> str:
    """The same for every try after a crash; another one after the ledger refused for good."""
    return str(uuid.uuid5(_NAMESPACE, f"{snapshot.name}#{snapshot.attempt}"))
