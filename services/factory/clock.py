"""How long a fine-tune has trained, in all lives of the service together: what its limit is measured by.

The time is kept in the store while training goes on, so that neither a restart begins it anew nor the time in between
counts.  What a killed service had not written yet is forgotten: at most `EVERY` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from sqlalchemy.exc import OperationalError

from services.factory import store
from services.factory.model import FineTune
from services.kit.database import Database
from services.kit.wait import stop

EVERY = 10.0
"""Seconds."""


@contextlib.asynccontextmanager
async def running(database: Database, job: FineTune) -> AsyncIterator[None]:
    """Counts while this is entered.  job: as it was read before its training began, or went on."""
    start = time.monotonic()

    async def write() -> None:
        seconds = job.training_seconds + time.monotonic() - start
        with contextlib.suppress(OperationalError):  # a database that is away for a moment ends no training
            await database.write(lambda c: store.count_seconds(c, job.id, seconds))

    async def count() -> None:
        while True:
            await asyncio.sleep(EVERY)
            await write()

    counting = asyncio.create_task(count())
    try:
        yield
    finally:
        await stop(counting)
        await write()
