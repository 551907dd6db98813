"""Closes epochs by itself, where nobody has for a while.  What it does not know: what closing does (`closing`)."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

from openledger.ledger.v1 import ledger_pb2
from services.kit import logs
from services.kit.database import Database
from services.kit.errors import Fault
from services.ledger.closing import Closing
from services.ledger.relay import Asked
from services.ledger.store import epochs
from services.ledger.store.epochs import State

LOOK_SECONDS = 60.0
CALLER = "services/ledger"
_LATER = frozenset({"EMPTY_EPOCH", "EPOCH_IN_PROGRESS", "BOOKS_WRONG"})


class Schedule:
    """Closes an epoch `seconds` after the one before was sealed, by whomever; 0: never.  Run `run` for ever.

    Where a root was struck out it closes none: people must find out why.
    """

    def __init__(self, database: Database, closing: Closing, *, seconds: int) -> None:
        self._database, self._closing, self._every = database, closing, timedelta(seconds=seconds)
        self._begun = datetime.now(UTC)
        self._log = logs.logger("ledger")

    async def run(self) -> None:
        """Look now and then, for ever."""
        while True:
            await self.step()
            await asyncio.sleep(min(LOOK_SECONDS, self._every.total_seconds() or LOOK_SECONDS))

    async def step(self) -> bool:
        """Close an epoch if it is time; says whether one was."""
        if await self._database.read(lambda c: epochs.oldest(c, State.VETOED)):
            return False
        newest = await self._database.read(epochs.newest)
        since = newest.create_time if newest else self._begun
        if not self._every or datetime.now(UTC) - since < self._every:
            return False
        try:
            await self._closing.close(Asked(CALLER, ledger_pb2.CloseEpochRequest(), str(uuid.uuid4())))
        except Fault as fault:
            if fault.reason not in _LATER:
                raise
            self._log.debug("no epoch is closed now", reason=fault.reason)
            return False
        return True
