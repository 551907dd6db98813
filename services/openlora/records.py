"""Records that come with a question: each must be what its contributor gave, in a snapshot that the Datanet knows.

A text that is not, letter for letter, opens no commitment and leads to no root, so nobody is credited for it.  Knows no
prompt, no tokens and no money.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import grpc

from openledger.client import ApiError, Client
from openledger.context import ContextError, ContextRecord, check_records
from openledger.datanet.v1 import datanet_pb2
from services.kit.errors import Fault, invalid, not_found, precondition, unavailable

Proven = tuple[ContextRecord, bytes]
"""A record, and the root of its snapshot."""

_KEPT = 10_000
_DEADLINE = 10.0


class Roots(Protocol):
    """Roots of snapshots."""

    async def of(self, snapshot: str) -> bytes:
        """The root of a snapshot, by its resource name.  Raises `Fault`."""


class DatanetRoots:
    """As the Datanet has them; they never change, and are asked for once."""

    def __init__(self, datanet: Client | None) -> None:
        """datanet: None where there is none to ask."""
        self._datanet = datanet
        self._known: dict[str, bytes] = {}

    async def of(self, snapshot: str) -> bytes:
        """See `Roots.of`."""
        if self._datanet is None:
            raise precondition(
                "NO_DATANET",
                "records cannot be passed here: this service is not told where the Datanet is. Ask without records, "
                "or have its operator set OPENLEDGER_OPENLORA_DATANET",
            )
        if snapshot not in self._known:
            root = await self._ask(self._datanet, snapshot)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[snapshot] = root
        return self._known[snapshot]

    async def _ask(self, datanet: Client, snapshot: str) -> bytes:
        try:
            request = datanet_pb2.GetSnapshotRequest(name=snapshot)
            return bytes((await datanet.call(datanet.datanet.GetSnapshot, request, _DEADLINE)).root)
        except ApiError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                raise not_found("SNAPSHOT_NOT_FOUND", f"there is no {snapshot}", snapshot=snapshot) from error
            text = f"the Datanet cannot say whose the records are ({error.reason}): ask again in a moment"
            raise unavailable("DATANET_UNAVAILABLE", text, retry_after=1) from error


async def prove(records: Sequence[ContextRecord], roots: Roots) -> list[Proven]:
    """Each record with its snapshot's root.  Raises `Fault` for the first that is not what it is said to be."""
    if not records:
        return []
    try:
        check_records(records)
    except ContextError as error:
        raise _bad("records", error) from error
    proven = []
    for number, record in enumerate(records):
        root = await roots.of(record.snapshot)
        try:
            record.check(root)
        except ContextError as error:
            raise _bad(f"records[{number}]", error) from error
        proven.append((record, root))
    return proven


def _bad(field: str, error: ContextError) -> Fault:
    fault: Fault = invalid("BAD_RECORD", f"{field}: {error}", field)
    return fault
