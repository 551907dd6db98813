"""Background work: every snapshot's root gets on chain, however long the ledger is away and whoever dies meanwhile.

All it knows is in the store: snapshots without an anchor.  Two processes at it at once do no harm.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from prometheus_client import Gauge
from sqlalchemy import Connection

from openledger.datanet.v1 import datanet_pb2
from services.datanet import store_snapshots, wire
from services.datanet.anchors import Anchors, NotAnchored
from services.datanet.model import Anchor, Snapshot
from services.kit import logs
from services.kit.database import Database
from services.kit.operations import Operations
from services.kit.wait import happens

FROZEN, ANCHORED = "frozen", "anchored"
_FIRST_PAUSE, _AT_ONCE = 0.2, 8


class Anchoring:
    """The loop.  `poll` and `backoff` are seconds: how often to look, and the longest pause between tries."""

    def __init__(
        self, database: Database, operations: Operations, anchors: Anchors, waiting: Gauge, poll: float, backoff: float
    ) -> None:
        self._database, self._operations, self._anchors, self._waiting = database, operations, anchors, waiting
        self._poll, self._backoff = poll, backoff
        self._new = asyncio.Event()
        self._said: dict[str, str] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._log = logs.logger("datanet")

    def wake(self) -> None:
        """There is a new snapshot."""
        self._new.set()

    async def run(self) -> None:
        """Endless; the service's server starts it again when it fails."""
        pause = _FIRST_PAUSE
        while True:
            pending = await self._database.read(store_snapshots.unanchored)
            async with asyncio.TaskGroup() as group:
                tries = [group.create_task(self._try(snapshot)) for snapshot in pending]
            left = sum(not task.result() for task in tries)
            self._waiting.set(left)
            pause = min(self._backoff, pause * 2) if left else _FIRST_PAUSE
            await happens(self._new, pause if left else self._poll)
            self._new.clear()

    async def _try(self, snapshot: Snapshot) -> bool:
        async with self._room:
            try:
                anchor = await self._anchors.anchor(snapshot)
            except NotAnchored as problem:
                await self._postpone(snapshot, problem)
                return False
        await self._database.write(lambda c: self._finish(c, snapshot, anchor))
        self._said.pop(snapshot.operation, None)
        self._log.info("anchored", snapshot=snapshot.name, transaction=anchor.transaction)
        return True

    def _finish(self, connection: Connection, snapshot: Snapshot, anchor: Anchor) -> None:
        store_snapshots.anchor(connection, snapshot, anchor)
        self._operations.report(connection, snapshot.operation, progress(snapshot, ANCHORED))
        self._operations.finish(connection, snapshot.operation, wire.snapshot(replace(snapshot, anchor=anchor)))

    async def _postpone(self, snapshot: Snapshot, problem: NotAnchored) -> None:
        phase = f"waiting for the ledger: {problem.reason}"

        def say(connection: Connection) -> None:
            if problem.final:
                store_snapshots.refused(connection, snapshot)
            self._operations.report(connection, snapshot.operation, progress(snapshot, phase))

        if problem.final or self._said.get(snapshot.operation) != phase:
            self._log.warning("not anchored yet", snapshot=snapshot.name, error=str(problem), final=problem.final)
            await self._database.write(say)
            self._said[snapshot.operation] = phase


def progress(snapshot: Snapshot, phase: str) -> datanet_pb2.SnapshotProgress:
    """An operation's metadata."""
    return datanet_pb2.SnapshotProgress(snapshot=snapshot.name, phase=phase)
