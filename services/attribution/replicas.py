"""Follows the logs of all of OpenLoRA's replicas, as they come and go.

Each address is read by a task of its own: a replica that is away, or whose log is not what it was, holds up no other.
What two addresses have of one log is read by one of them at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

import grpc

from openledger.client import ApiError, Client
from services.attribution.addresses import Addresses
from services.attribution.consume import AnotherLog, Log, TraceConsumer, log_at, replicas_read
from services.attribution.lanes import Lanes
from services.attribution.outcomes import Outcomes
from services.kit import logs
from services.kit.background import kept_going
from services.kit.database import Database
from services.kit.metrics import Metrics

TASK = "traces"
_PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
_PAUSE = 0.5

log = logs.logger("attribution")


class Replicas:
    """`run` for ever, in one task."""

    def __init__(
        self,
        database: Database,
        outcomes: Outcomes,
        addresses: Addresses,
        peer: Callable[[str], Client],
        lanes: Lanes,
        metrics: Metrics,
        *,
        batch: int,
        wait: float,
        look: float,
    ) -> None:
        """peer: a client of the OpenLoRA at an address.  look: seconds between looks for addresses."""
        self._database, self._outcomes, self._addresses, self._peer = database, outcomes, addresses, peer
        self._lanes, self._metrics = lanes, metrics
        self._batch, self._wait, self._look = batch, wait, look
        self._there: set[str] = set()
        self._followed: set[str] = set()
        self._away: set[str] = set()
        self._behind: set[Log] = set()
        self._reading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._heard_at: dict[str, float] = {}
        self._lag = metrics.gauge(
            "trace_lag", "A replica's traces that wait to be attributed, as last heard", "replica"
        )
        self._silent = metrics.gauge(
            "replica_silent_seconds", "Since a replica of OpenLoRA was last heard of", "replica"
        )

    async def run(self) -> None:
        """Make ready, then follow whoever is there."""
        await self._outcomes.open()
        for replica in await self._database.read(replicas_read):
            self._heard(replica)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._there = await self._addresses.now()
                    for address in self._there - self._followed:
                        self._followed.add(address)
                        group.create_task(self._follow(address))
                    await asyncio.sleep(self._look)
        finally:
            self._followed.clear()
            self._lanes.hold(False)

    async def _follow(self, address: str) -> None:
        """Until it is nobody's address any more; not broken off by that, for what is committed must be published."""
        async with self._peer(address) as peer:
            await kept_going(self._metrics, TASK, lambda: self._visit(address, peer))
        self._followed.discard(address)
        self._away.discard(address)

    async def _visit(self, address: str, peer: Client) -> None:
        """Errors that will not pass by themselves are raised: a log made anew stops its own attribution, loudly."""
        while address in self._there:
            try:
                await self._read(address, peer, await log_at(peer))
            except AnotherLog:
                log.info("another replica has this address now", at=address)
            except ApiError as error:
                if error.code not in _PASSING:
                    raise
                if address not in self._away:
                    log.warning("a peer is away; traces wait", at=address, reason=error.reason, message=error.message)
                self._away.add(address)
                await asyncio.sleep(_PAUSE)

    async def _read(self, address: str, peer: Client, found: Log) -> None:
        """Consume, until something comes in the way."""
        async with self._reading[found.epoch]:
            batch, wait = self._batch, self._wait
            consumer = TraceConsumer(
                self._database, self._outcomes, peer, found, batch=batch, wait=wait,
                heard=lambda: self._heard(found.replica),
            )  # fmt: skip
            try:
                while address in self._there:
                    took = await consumer.step()
                    self._away.discard(address)
                    self._lag.labels(found.replica).set(consumer.lag)
                    self._hold(found, consumer.lag > 0)
                    if not took:
                        await asyncio.sleep(0)
            finally:
                self._hold(found, False)

    def _hold(self, found: Log, behind: bool) -> None:
        """What can wait does, while any replica that is there has traces that do."""
        (self._behind.add if behind else self._behind.discard)(found)
        self._lanes.hold(bool(self._behind))

    def _heard(self, replica: str) -> None:
        if replica not in self._heard_at:
            self._silent.labels(replica).set_function(lambda: time.monotonic() - self._heard_at[replica])
        self._heard_at[replica] = time.monotonic()
