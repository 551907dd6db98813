"""Background work: what records of before likeness was looked for are like is found as well, while the service serves.

In transactions of so many, each whole: broken off, it goes on where it was.  Each gets its place by when it came in, so
that it is first over what came since; until all have theirs, datanets that ask for that take nothing.  What says the
same is known again by the form in which texts are compared now, as well.  Looked for again from time to time, for a
service of an earlier version may have been beside this one.
"""

from __future__ import annotations

import asyncio

from prometheus_client import Gauge
from sqlalchemy import Connection

from openledger import records
from services.datanet import sealing, store_firsts, store_likeness, store_records
from services.datanet.model import record_name
from services.datanet.vault import Vault
from services.kit import logs
from services.kit.database import Database
from services.kit.errors import unavailable

_AT_ONCE = 100
_TOLD_AFTER = 10_000
_AGAIN_SECONDS = 3_600.0


class Likening:
    """`missing`: how many records are left, those included that nobody can open, which are like nothing."""

    def __init__(self, database: Database, vault: Vault, missing: Gauge) -> None:
        self._database, self._vault, self._missing = database, vault, missing
        self._done = False
        self._log = logs.logger("datanet")

    async def check(self) -> None:
        """Raises `Fault` as long as records are left that nothing could be compared with."""
        if self._done:
            return
        if await self._database.read(lambda c: store_likeness.missing(c, "", 1)):
            message = "what reads alike is still being looked for in earlier records; nothing was taken. Send it again"
            raise unavailable("NOT_COMPARED_YET", message, retry_after=30)
        self._done = True

    async def run(self) -> None:
        """Endless; the service's server starts it again when it fails."""
        while True:
            await self.all()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def all(self) -> int:
        """Returns how many records that were."""
        await self._database.write(_forget_erased)
        left, found, after = await self._database.read(store_likeness.count_missing), 0, ""
        while True:
            self._missing.set(left)
            before = found
            count, after = await self._database.write(lambda c, start=after: _some(c, self._vault, start))  # type: ignore[misc]
            found, left = found + count, left - count
            if found // _TOLD_AFTER > before // _TOLD_AFTER or (found and not after):
                self._log.info("what records are like was found", count=found, left=left)
            if not after:
                self._done = True
                return found


def _forget_erased(connection: Connection) -> None:
    for record in store_likeness.left_behind(connection):
        store_likeness.forget(connection, record)


def _some(connection: Connection, vault: Vault, after: str) -> tuple[int, str]:
    """How many were added, of records with ids after that one, and the last that was looked at; "" at the end."""
    store_likeness.hold(connection)  # others may be at it, too
    some = store_likeness.missing(connection, after, _AT_ONCE)
    said = store_records.contents(connection, vault, [record for record, _, _ in some])
    texts = [
        (came, sealing.liken(vault, record, wrapped, said[record].fields))
        for record, wrapped, came in some
        if record in said
    ]
    store_likeness.add(connection, texts)
    tokens = {
        record_name(datanet, record): sealing.fingerprint_token(vault, records.fingerprint(said[record].fields))
        for record, datanet in store_records.datanets_of(connection, said).items()
    }
    store_firsts.claim_again(connection, tokens)
    return len(texts), some[-1][0] if some else ""
