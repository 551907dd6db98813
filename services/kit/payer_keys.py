"""The keys under which payers' texts are sealed: each payer's own, wrapped in the database by the service's own.

That one is in a file.  Who has the database alone reads no text; who has the file too reads all of it.  What a
destroyed key has sealed nobody reads again.  A payer takes its keys back (`retire`), and they are destroyed as soon as
nobody but the payer needs them; and each seals for a month only, so that it goes when the last text of that month has
gone.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    false,
    func,
    insert,
    select,
    update,
)

from openledger import key_files
from openledger.key_files import KeyFileError
from services.kit import lines, sealing
from services.kit.database import Database
from services.kit.sealing import SECRET_BYTES, DataKey, Unopened
from services.kit.wait import whole

T = TypeVar("T")

IN_USE = timedelta(days=30)
"""So long a key seals."""
MARGIN = timedelta(days=1)
"""After which nothing is in hand any more that it has sealed."""
_KEPT = 10_000
_AT_ONCE = 1_000
_LOOK_AGAIN_SECONDS = 3600.0


def payer_key_table(metadata: MetaData) -> Table:
    """The table of payers' keys of one database."""
    return Table(
        "payer_key",
        metadata,
        Column("name", Text, primary_key=True),
        Column("payer", Text, nullable=False, index=True),
        Column("wrapped", Text, nullable=False),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("retired", Boolean, nullable=False, server_default=false()),
    )


def service_key(file: Path, database: Database, metadata: MetaData) -> bytes:
    """The service's key, 64 hex digits in a file; made at random for a service that has sealed nothing yet.

    Raises `KeyFileError` for a file that is gone or holds another key than the one in use, and `OSError`.
    """
    some = select(metadata.tables["payer_key"]).limit(1)
    sealed = database.read_now(lambda c: c.execute(some).first())
    if sealed is not None and not file.exists():
        raise KeyFileError(f"{file} is gone: it opens the traces in the database. Put it back from a copy")
    key = key_in(file)
    if sealed is not None:
        try:
            sealing.unwrap(key, sealed.name, sealed.payer, sealed.wrapped)
        except Unopened:
            raise KeyFileError(f"{file} holds another key than the one that opens the traces in the database") from None
    return key


def key_in(file: Path) -> bytes:
    """The key, 64 hex digits in a file; made at random if there is no file.  Raises `KeyFileError`, and `OSError`."""
    text = key_files.keep(file, lambda: sealing.new_secret().hex().encode())
    try:
        key = bytes.fromhex(text.decode().strip())
    except ValueError:
        key = b""
    if len(key) != SECRET_BYTES:
        raise KeyFileError(f"{file} does not hold a key for traces: 64 hex digits")
    return key


class PayerKeys:
    """The payers' keys of one service, which is the only one to use its database.

    A key that `of` gives may seal until the caller next awaits something else: whoever retires it counts on that.

    `forgotten`: a file to which the names of keys that their payers took back are added first, so that a database that
    is put back from a copy hears of it (`retire_again`, `destroy_again`).  None: nothing is to be put back.
    """

    def __init__(
        self,
        database: Database,
        metadata: MetaData,
        service_key: bytes,
        *,
        clock: Callable[[], float] = time.time,
        forgotten: Path | None = None,
    ) -> None:
        self._forgotten = forgotten
        self._database, self._table, self._service_key = database, metadata.tables["payer_key"], service_key
        self._clock = clock
        self._in_use: dict[str, tuple[DataKey, float]] = {}
        self._known: dict[str, DataKey] = {}
        self._looking = asyncio.Lock()
        """Held while keys are looked for or changed, so that none is remembered that is gone."""

    async def of(self, payer: str) -> DataKey:
        """The key to seal a payer's text with; it is on disk when this returns."""
        found = self._in_use.get(payer)
        if found is None or self._clock() >= found[1]:
            async with self._looking:
                found = await self._look(payer), self._clock() + _LOOK_AGAIN_SECONDS
                _bounded(self._in_use)[payer] = found
        return found[0]

    async def named(self, names: Collection[str]) -> Mapping[str, DataKey]:
        """The named keys, as far as there are such."""
        found = {name: self._known[name] for name in names if name in self._known}
        missing = set(names).difference(found)
        if missing:
            those = select(self._table).where(self._table.c.name.in_(missing))
            async with self._looking:
                rows = await self._database.read(lambda c: c.execute(those).all())
                fresh = {row.name: self._unwrap(row) for row in rows}
                _bounded(self._known).update(fresh)
            found |= fresh
        return found

    async def retire(self, payer: str) -> None:
        """Seal nothing more with the payer's keys of now; each says of itself that it is retired."""
        await whole(self._retire(payer))

    async def retired(self) -> list[str]:
        """The names of the retired keys that are not destroyed."""
        those = select(self._table.c.name).where(self._table.c.retired)
        return list(await self._database.read(lambda c: c.execute(those).scalars().all()))

    async def destroy(self, names: Collection[str]) -> None:
        """Nobody opens again what these have sealed."""
        await whole(self._destroy(lambda _: names))

    async def destroy_of(self, payer: str, also: Callable[[Connection], Collection[str]]) -> None:
        """Nobody opens again what the payer's keys of now have sealed.

        also: in the same transaction; gives lines that are put on the list of forgotten keys, behind them.
        """

        def those(connection: Connection) -> Collection[str]:
            said = also(connection)
            names = self._names(connection, self._table.c.payer == payer)
            self._remember([*names, *said])
            return names

        await whole(self._destroy(those, payer))

    async def destroy_again(self) -> None:
        """Before it serves: what payers had destroyed, and a copy of the database brought back.  Raises `OSError`."""
        for names in self._taken_back():
            await self.destroy(names)

    async def retire_again(self) -> None:
        """Before it serves: as `destroy_again`, of keys that still have to open for one reader."""
        t = self._table
        for names in self._taken_back():
            again = update(t).where(t.c.name.in_(names)).values(retired=True)
            await self._database.write(lambda c, a=again: c.execute(a))  # type: ignore[misc]

    async def destroy_unused(self, oldest: datetime | None) -> None:
        """Destroy the keys that sealed nothing which is still kept.  oldest: when the oldest text of all was made.

        None: there is none.
        """
        moment = min(filter(None, (oldest, datetime.fromtimestamp(self._clock(), UTC)))) - IN_USE - MARGIN
        await whole(self._destroy(lambda c: self._names(c, self._table.c.create_time < moment)))

    async def _retire(self, payer: str) -> None:
        t = self._table

        def retire(connection: Connection) -> None:
            self._remember(self._names(connection, (t.c.payer == payer) & ~t.c.retired))
            connection.execute(update(t).where(t.c.payer == payer).values(retired=True))

        async with self._looking:
            self._forget(payer)
            await self._database.write(retire)

    async def _destroy(self, find: Callable[[Connection], Collection[str]], payer: str = "") -> None:
        """payer: whose keys alone they are."""

        def transaction(connection: Connection) -> None:
            connection.execute(delete(self._table).where(self._table.c.name.in_(find(connection))))

        async with self._looking:
            self._forget(payer)
            await self._database.write(transaction)
        # SQLite's log has them, wrapped as they were, until it is emptied.  Also when nothing was destroyed now: the
        # last time a reader may have been in the way, or the process have ended.
        await asyncio.to_thread(self._database.empty_log)

    def _remember(self, names: Collection[str]) -> None:
        if self._forgotten is not None:
            lines.add(self._forgotten, names)

    def said(self) -> list[str]:
        """The list of forgotten keys, with what was said beside them."""
        return lines.read(self._forgotten) if self._forgotten is not None else []

    def _taken_back(self) -> Iterator[list[str]]:
        names = self.said()
        for start in range(0, len(names), _AT_ONCE):
            yield names[start : start + _AT_ONCE]

    def _forget(self, payer: str) -> None:
        """Before keys are changed: who wants one meanwhile waits, and sees what has become of it."""
        if payer:
            self._in_use.pop(payer, None)  # others seal on: anybody may forget, as often as it likes
        else:
            self._in_use.clear()
        self._known.clear()

    async def _look(self, payer: str) -> DataKey:
        fresh = DataKey(uuid.uuid4().hex, sealing.new_secret())
        now = datetime.fromtimestamp(self._clock(), UTC)
        values = {"name": fresh.name, "payer": payer, "create_time": now}
        row = await self._database.read(lambda c: self._current(c, payer, now - IN_USE))
        if row is not None:
            return self._unwrap(row)
        wrapped = sealing.wrap(self._service_key, fresh, payer)
        await self._database.write(lambda c: c.execute(insert(self._table).values(**values, wrapped=wrapped)))
        return fresh

    def _current(self, connection: Connection, payer: str, since: datetime) -> Row[Any] | None:
        t = self._table
        those = select(t).where(t.c.payer == payer, ~t.c.retired, t.c.create_time > since)
        return connection.execute(those.order_by(t.c.create_time, t.c.name)).first()

    def _names(self, connection: Connection, which: ColumnElement[bool]) -> Collection[str]:
        return connection.execute(select(self._table.c.name).where(which)).scalars().all()

    def _unwrap(self, row: Row[Any]) -> DataKey:
        found = sealing.unwrap(self._service_key, row.name, row.payer, row.wrapped)
        return replace(found, retired=bool(row.retired))


def _bounded(known: dict[str, T]) -> dict[str, T]:
    if len(known) >= _KEPT:
        known.clear()
    return known
