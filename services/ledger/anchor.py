"""Writes snapshots' roots on chain for the Datanet, each once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from google.longrunning import operations_pb2
from sqlalchemy import Connection

from openledger import names
from openledger.ledger.v1 import ledger_pb2
from services.kit import logs
from services.kit.database import Database
from services.kit.errors import Fault, invalid, precondition
from services.kit.operations import Operations, operation_name
from services.ledger import calls
from services.ledger.chain import Chain, ChainUnavailable, NodeRefused
from services.ledger.chain_writer import ChainWriter
from services.ledger.changes import Changes
from services.ledger.store import epochs
from services.ledger.store.chain import State, Transaction
from services.ledger.store.epochs import Anchoring

MAX_RECORDS = 2**63 - 1


@dataclass(frozen=True)
class Root:
    """What is to be anchored.  `datanet` is a resource name, `root` 32 bytes."""

    datanet: str
    version: int
    root: bytes
    records: int

    @property
    def snapshot(self) -> str:
        """Its resource name."""
        return f"{self.datanet}/snapshots/{self.version}"


def read(snapshot: str, root: bytes, records: int) -> Root:
    """Raises `Fault` for what the registry would not take."""
    datanet, version = names.match("datanets/*/snapshots/*", snapshot)
    if not version.isdecimal() or str(int(version)) != version or not 0 < int(version) < 2**63:
        raise invalid("BAD_SNAPSHOT", f"snapshot: {version!r} is not a version: whole numbers from 1", "snapshot")
    if len(root) != 32 or not any(root):
        raise invalid("BAD_ROOT", "root: must be 32 bytes, and not all zero", "root")
    if not 0 < records <= MAX_RECORDS:
        raise invalid("BAD_RECORD_COUNT", f"record_count: {records} is not a number of records", "record_count")
    return Root(f"datanets/{datanet}", int(version), root, records)


class Anchorer:
    """Takes roots and sees them onto the chain.  Run `run` for ever."""

    def __init__(
        self, database: Database, chain: Chain, writer: ChainWriter, operations: Operations, *, poll_seconds: float
    ) -> None:
        self._database, self._chain, self._writer = database, chain, writer
        self._operations, self._poll = operations, poll_seconds
        self._wanted = Changes()
        self._log = logs.logger("ledger")

    def take(self, connection: Connection, root: Root, owner: str) -> Any:
        """The operation that anchors it, begun if none is under way or done.  Call `wake` after the transaction."""
        name = operation_name("anchor", uuid.uuid4().hex)
        wanted = Anchoring(root.snapshot, root.root.hex(), root.records, name)
        if epochs.new_anchoring(connection, wanted):
            return self._operations.create(connection, name, owner, self._about(root.snapshot))
        known = epochs.anchoring(connection, root.snapshot)
        assert known is not None
        if (known.root, known.records) != (wanted.root, wanted.records):
            raise precondition(
                "ALREADY_ANCHORED",
                f"{root.snapshot} was anchored with root {known.root} over {known.records} records; a snapshot does "
                "not change: cut a new one",
                root=known.root,
            )
        return operations_pb2.Operation(name=known.operation)

    def wake(self) -> None:
        """There is something to anchor."""
        self._wanted.tell()

    async def run(self) -> None:
        """Anchor, for ever."""
        while True:
            try:
                await self.step()
            except (ChainUnavailable, NodeRefused) as error:
                self._log.warning("the chain does not answer", error=str(error))
            await self._wanted.next(self._poll)

    async def step(self) -> None:
        """Move on everything that is not anchored yet."""
        waiting = await self._database.read(epochs.open_anchorings)
        for anchoring in waiting:
            await self._plan(anchoring)
        for anchoring in waiting:
            ended = await self._writer.wait(_key(anchoring), self._poll)
            if ended is not None:
                await self._end(anchoring, ended)

    async def _plan(self, anchoring: Anchoring) -> None:
        root = read(anchoring.snapshot, bytes.fromhex(anchoring.root), anchoring.records)
        at = self._chain.contracts
        call = calls.commit_snapshot(at, root.datanet, root.version, root.root, root.records, root.snapshot)
        # Of an anchoring that failed nothing is left but its transaction, which is tried again.
        await self._writer.plan(_key(anchoring), call, again=True)

    async def _end(self, anchoring: Anchoring, ended: Transaction) -> None:
        root = read(anchoring.snapshot, bytes.fromhex(anchoring.root), anchoring.records)
        on_chain = await asyncio.to_thread(self._chain.snapshot, root.datanet, root.version)
        there = on_chain is not None and on_chain.root == root.root
        result = self._about(anchoring.snapshot)
        if ended.state is State.FINAL:
            result.transaction, result.block = ended.hash, ended.block

        def write(connection: Connection) -> None:
            if there:
                epochs.end_anchoring(connection, anchoring.snapshot)
                self._operations.finish(connection, anchoring.operation, result)
            else:
                # Forgotten, so that it can be asked for again when the operator has mended what was wrong.
                epochs.drop_anchoring(connection, anchoring.snapshot)
                self._operations.fail(connection, anchoring.operation, _failed(anchoring, ended))

        await self._database.write(write)
        self._log.info("anchored" if there else "not anchored", snapshot=anchoring.snapshot, error=ended.error)

    def _about(self, snapshot: str) -> ledger_pb2.Anchoring:
        contract = self._chain.contracts.registry
        return ledger_pb2.Anchoring(snapshot=snapshot, chain_id=self._chain.chain_id, contract=contract)


def _key(anchoring: Anchoring) -> str:
    return f"anchor:{anchoring.snapshot}"


def _failed(anchoring: Anchoring, ended: Transaction) -> Fault:
    return precondition(
        "ANCHORING_REFUSED",
        f"the registry does not take the root of {anchoring.snapshot}: {ended.error or 'it holds another one'}",
        snapshot=anchoring.snapshot,
    )
