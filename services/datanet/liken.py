"""Background work: what records of before likeness was looked for are like is found as well, while the service serves.

So many at a time are read, and what they are like is found, while others come in; then it is added in a transaction,
whole: broken off, it goes on where it was.  Each gets its place by when it came in, so that it is first over what came
since; until all have theirs, datanets that ask for that take nothing.  What says the same is known again by the form in
which texts are compared now, as well.  Looked for again from time to time, for a service of an earlier version may have
been beside this one; where there is nothing to do that only reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Gauge
from sqlalchemy import Connection

from openledger import records
from services.datanet import sealing, store_firsts, store_likeness, store_records
from services.datanet.likeness import Text
from services.datanet.model import Content, record_name
from services.datanet.store_likeness import Missing
from services.datanet.vault import Unopened, Vault
from services.kit import logs
from services.kit.database import Database
from services.kit.errors import unavailable
from services.kit.wait import to_its_end

_AT_ONCE, _BYTES = 100, 2**22
"""Records that are read at a time, and canonical bytes of them; one may have more."""
_TOLD_AFTER = 10_000
_AGAIN_SECONDS = 3_600.0


@dataclass(frozen=True)
class _Found:
    """What is to be kept of a record, by its key as it was: `text`, and the token by which its text is known."""

    missing: Missing
    text: Text
    token: bytes


class Likening:
    """`missing`: how many records are left, those included that nobody can open, which are like nothing."""

    def __init__(self, database: Database, vault: Vault, missing: Gauge) -> None:
        self._database, self._vault, self._missing = database, vault, missing
        self._done, self._reached = False, ""
        self._log = logs.logger("datanet")

    async def check(self) -> None:
        """Raises `Fault` as long as records are left that nothing could be compared with."""
        if self._done:
            return
        if await self._database.read(lambda c: store_likeness.missing(c, self._reached, 1)):
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
        if await self._database.read(store_likeness.left_behind):
            await self._database.write(_forget_erased)
        self._reached, found, left = "", 0, 0
        while some := await self._page():
            if not self._reached:
                left = await self._database.read(store_likeness.count_missing)
                self._missing.set(left)
            before = found
            count = await self._add(some)
            self._reached, found, left = some[-1].record, found + count, left - count
            self._missing.set(left)
            if found // _TOLD_AFTER > before // _TOLD_AFTER:
                self._log.info("what records are like was found", count=found, left=left)
        self._missing.set(left)
        if found:
            self._log.info("what records are like was found", count=found, left=left)
        self._done = True
        return found

    async def _page(self) -> list[Missing]:
        """The next ones."""
        some = await self._database.read(lambda c: store_likeness.missing(c, self._reached, _AT_ONCE))
        size = 0
        for place, one in enumerate(some):
            size += one.size
            if place and size > _BYTES:
                return some[:place]
        return some

    async def _add(self, some: Sequence[Missing]) -> int:
        """What they are like is found while others come in, and then added.  Returns of how many."""
        said = await self._database.read(lambda c: store_records.contents(c, self._vault, [m.record for m in some]))
        found = await to_its_end(self._find, some, said)
        return await self._database.write(lambda c: _keep(c, found)) if found else 0

    def _find(self, some: Sequence[Missing], said: Mapping[str, Content]) -> dict[str, _Found]:
        found = {}
        for one in some:
            if one.record not in said:
                continue
            fields = said[one.record].fields
            try:
                text = sealing.liken(self._vault, one.record, one.wrapped, fields)
                token = sealing.fingerprint_token(self._vault, records.fingerprint(fields))
            except (Unopened, ValueError) as problem:  # it keeps no others waiting
                self._log.warning("what a record is like is not found", record=one.record, error=str(problem))
                continue
            found[one.record] = _Found(one, text, token)
        return found


def _forget_erased(connection: Connection) -> None:
    for record in store_likeness.left_behind(connection):
        store_likeness.forget(connection, record)


def _keep(connection: Connection, found: Mapping[str, _Found]) -> int:
    """Of those of which nothing is kept yet, and which are as they were read.  Returns how many."""
    store_likeness.hold(connection)  # others may be at it, too
    keys = store_likeness.still_missing(connection, found)
    there = {record: one for record, one in found.items() if keys.get(record) == one.missing.wrapped}
    store_likeness.add(connection, [(one.missing.came, one.text) for one in there.values()])
    tokens = {
        record_name(datanet, record): there[record].token
        for record, datanet in store_records.datanets_of(connection, there).items()
    }
    store_firsts.claim_again(connection, tokens)
    return len(there)
