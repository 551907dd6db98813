"""A worker's reports, as events of its fine-tune: a few a second at first, fewer the longer it goes on.

A run leaves about 1,000 events for every doubling of its length, so a log stays bounded without ever losing a number.
Reports that come faster are replaced by the newest; a change of phase, and a measurement of the records that were held
out, are always told.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from sqlalchemy.exc import OperationalError

from services.factory import store
from services.factory.bell import Bell
from services.factory.model import State, TrainingProgress
from services.kit.database import Database

_SECONDS, _DOUBLES_EVERY = 0.25, 1000

PHASES = {
    "base": "preparing the base model and the records",
    "loading": "loading the base model",
    "preparing": "running the frozen layers over every record, once",
    "training": "training",
    "evaluating": "measuring on the records that were held out",
    "writing": "writing the adapter and its contribution index",
    "measuring": "measuring what it gained, what it forgot, and what it gives away",
    "join": "putting all parts' contributors into one index",
    "trunk": "running the frozen layers over every record, once for all trainings again",
    "private": "indexing the training text, to show later what an answer quotes",
    "sketches": "sketching every record, to show later which of them an answer resembles",
    "fit": "comparing the paid scores with the models that were trained again",
}


class EventLog:
    """Of one fine-tune, while it trains."""

    def __init__(self, database: Database, bell: Bell, fine_tune: str) -> None:
        self._database, self._bell, self._fine_tune = database, bell, fine_tune
        self._pending: list[tuple[str, TrainingProgress]] = []
        self._news = asyncio.Event()
        self._last = 1

    def put(self, report: dict[str, Any]) -> None:
        """Take a report; returns at once."""
        phase, progress = str(report["phase"]), TrainingProgress.of(report)
        if self._pending and self._pending[-1][0] == phase and self._pending[-1][1].valid_loss is None:
            self._pending.pop()
        self._pending.append((phase, progress))
        self._news.set()

    async def run(self) -> None:
        """Write what comes, until cancelled or until the fine-tune is not training any more."""
        while True:
            await self._news.wait()
            # While the database is away reports are lost; the training they tell of is not.
            with contextlib.suppress(OperationalError):
                self._last = await self.flush()
            if self._last == 0:
                return
            await asyncio.sleep(interval(self._last))

    async def flush(self) -> int:
        """Write what there is now; returns the last sequence, or 0 when the fine-tune is not training any more."""
        self._news.clear()
        pending, self._pending = self._pending, []
        sequence = 0
        for phase, progress in pending:
            sequence = await self._write(PHASES.get(phase, phase), progress)
        self._bell.ring()
        return sequence

    async def _write(self, message: str, progress: TrainingProgress) -> int:
        shown = progress if progress.steps else None
        return await self._database.write(lambda c: store.note(c, self._fine_tune, State.TRAINING, message, shown))


def interval(sequence: int) -> float:
    """Seconds to wait after the event with that sequence."""
    return _SECONDS * float(2 ** (sequence // _DOUBLES_EVERY))
