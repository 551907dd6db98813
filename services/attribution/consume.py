"""Reads the traces of one of OpenLoRA's replicas, each exactly once.

The stored offset is the replica's, wherever it is, and moves in the transaction that appends the receipts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, select

from openledger.client import Client
from openledger.openlora.v1 import openlora_pb2
from services.attribution import store
from services.attribution.outcomes import Outcomes, Settled
from services.kit.consumer import Consumer, Page
from services.kit.database import Database

SOURCE = "openlora/traces"


@dataclass(frozen=True)
class Log:
    """A replica's log of traces."""

    replica: str
    epoch: str

    @property
    def source(self) -> str:
        """Under what its offset is stored."""
        return f"{SOURCE}/{self.replica}" if self.replica else SOURCE


class AnotherLog(Exception):
    """At this address there is another log now."""


async def log_at(peer: Client) -> Log:
    """Which log there is.  Raises `ApiError`."""
    replica = await peer.call(peer.openlora.GetReplica, openlora_pb2.GetReplicaRequest(), 10)
    return Log(replica.name, replica.log_epoch)


def replicas_read(connection: Connection) -> set[str]:
    """The names of all replicas of which something was ever read."""
    sources = connection.execute(select(store.METADATA.tables["consumer"].c.source)).scalars()
    return {source.removeprefix(SOURCE).removeprefix("/") for source in sources if source.startswith(SOURCE)}


class TraceConsumer:
    """`step` again and again, in one task.  `heard` is called whenever the replica has answered."""

    def __init__(
        self,
        database: Database,
        outcomes: Outcomes,
        peer: Client,
        log: Log,
        *,
        batch: int,
        wait: float,
        heard: Callable[[], None],
    ) -> None:
        self._outcomes, self._peer, self._log, self._heard = outcomes, peer, log, heard
        self._batch, self._wait = batch, wait
        prepare = partial(outcomes.prepare, replica=log.replica)
        self._consumer = Consumer(database, store.METADATA, log.source, self._read, prepare, self._apply)
        self._same_log = False
        """Whether the stored offset is known to be of this log."""
        self._applied: Sequence[Settled] = ()

    @property
    def lag(self) -> int:
        """How many traces wait, as of the last step."""
        return self._consumer.lag

    async def step(self) -> int:
        """Take in what there is, waiting for something; returns how many traces that were.

        Raises what `Consumer.step` raises, `ApiError`, and `AnotherLog`.
        """
        await self._outcomes.publish()
        took = await self._consumer.step()
        self._same_log = True
        if took:
            await self._outcomes.tell(self._applied)
        return took

    async def _read(self, after: int) -> Page[Any]:
        request = openlora_pb2.ReadTracesRequest(
            after_offset=after,
            max_entries=self._batch,
            wait_seconds=self._wait,
            # `after` is on disk here, in the transaction of its receipts: what comes before may go from the log, unless
            # this is one made anew, of which nothing was read.
            acknowledged_offset=after if self._same_log else 0,
            log_epoch=self._log.epoch,
        )
        reply = await self._peer.call(self._peer.openlora.ReadTraces, request, self._wait + 10)
        if reply.log_epoch != self._log.epoch:
            raise AnotherLog
        self._heard()
        return Page([(e.offset, e) for e in reply.entries], reply.high_watermark, reply.log_epoch)

    def _apply(self, connection: Connection, outcomes: Sequence[Settled]) -> None:
        self._outcomes.apply(connection, outcomes)
        self._applied = outcomes
