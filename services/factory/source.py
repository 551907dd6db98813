"""Where snapshots come from: a port, and the Datanet behind it.

Turns what the Datanet says into plain values and three kinds of trouble: it is away (`SourceUnavailable`, worth another
try), it has no such snapshot, or it refuses.  Believes nothing of what it reads: `services.factory.read` checks it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import grpc

from openledger import names
from openledger.client import ApiError, Client
from openledger.datanet.v1 import datanet_pb2
from services.kit.errors import Fault, not_found, precondition

_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)


class SourceUnavailable(Exception):
    """The Datanet cannot be reached, or its answer broke off."""


@dataclass(frozen=True)
class SnapshotInfo:
    """A snapshot as the Datanet describes it, with the field ids of its datanet's records."""

    name: str
    root: str
    """Hex."""
    records: int
    licence: str
    anchored: bool
    fields: frozenset[str]
    notice: str = ""
    """Where the licence's text is, and who must be acknowledged how."""
    private_to: str = ""
    """Lower-case address of who alone may train on it; empty for everybody."""


@dataclass(frozen=True)
class SourceRecord:
    """A record with what is needed to check it."""

    leaf: int
    name: str
    contributor: str
    """Lower-case address."""
    fields: Mapping[str, str]
    source: str
    salt: bytes
    """Empty for a record that is erased."""
    commitment: bytes = b""
    """Its leaf in the snapshot's tree, as the Datanet says: all that is left of a record that is erased."""


class RecordSource(Protocol):
    """Records of snapshots, by the snapshot's name."""

    def records(self, name: str, start: int) -> AsyncIterator[SourceRecord]:
        """Its records from leaf `start`, in order.  Raises `Fault`, `SourceUnavailable`; `ValueError` for nonsense."""


class SnapshotSource(RecordSource, Protocol):
    """Snapshots by name."""

    async def describe(self, name: str) -> SnapshotInfo:
        """Raises `Fault` when there is none or it is refused, `SourceUnavailable`."""


class DatanetSource:
    """The Datanet, called as the service "factory"."""

    def __init__(self, client: Client) -> None:
        self._client, self._stub = client, client.datanet

    async def describe(self, name: str) -> SnapshotInfo:
        """See `SnapshotSource.describe`."""
        datanet = "datanets/" + names.match("datanets/*/snapshots/*", name)[0]
        try:
            request = datanet_pb2.GetSnapshotRequest(name=name)
            snapshot = await self._client.call(self._stub.GetSnapshot, request, 20)
            about = await self._client.call(self._stub.GetDatanet, datanet_pb2.GetDatanetRequest(name=datanet), 20)
        except ApiError as error:
            raise _trouble(error, name) from error
        return SnapshotInfo(
            name=name,
            root=snapshot.root.hex(),
            records=snapshot.record_count,
            licence=snapshot.licence,
            anchored=bool(snapshot.anchor.transaction),
            fields=frozenset(field.id for field in about.fields),
            notice=about.licence_notice,
            private_to=_private_to(about),
        )

    async def records(self, name: str, start: int) -> AsyncIterator[SourceRecord]:
        """See `SnapshotSource.records`."""
        request = datanet_pb2.ReadSnapshotRequest(name=name, start=start)
        try:
            async for batch in self._client.stream(self._stub.ReadSnapshot, request):
                for record in batch.records:
                    yield SourceRecord(
                        leaf=record.leaf,
                        name=record.record,
                        contributor=names.account_address(record.contributor),
                        fields=dict(record.fields),
                        source=record.source,
                        salt=record.salt,
                        commitment=record.commitment,
                    )
        except ApiError as error:
            raise _trouble(error, name) from error


def no_snapshot(name: str) -> Fault:
    """There is none of that name, or it is not for the asker to know."""
    return not_found("SNAPSHOT_NOT_FOUND", f"there is no snapshot {name}", snapshot=name)


def _private_to(datanet: datanet_pb2.Datanet) -> str:
    private = datanet.visibility == datanet_pb2.VISIBILITY_PRIVATE
    return names.account_address(datanet.owner) if private else ""


def _trouble(error: ApiError, name: str) -> Exception:
    if error.code in _PASSING:
        return SourceUnavailable(f"the Datanet says {error.reason}: {error.message}")
    if error.code is grpc.StatusCode.NOT_FOUND:
        return no_snapshot(name)
    refused: Fault = precondition(
        "SNAPSHOT_REFUSED", f"the Datanet does not give out {name}: {error.message}", snapshot=name
    )
    return refused
