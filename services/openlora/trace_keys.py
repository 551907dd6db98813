"""The keys under which traces are sealed: one a payer, wrapped in the database by the service's own key from a file.

Who has the database alone reads no text; who has the file too reads all of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from pathlib import Path

from openledger import key_files
from openledger.key_files import KeyFileError
from services.kit.database import Database
from services.openlora import sealing, store_traces
from services.openlora.sealing import DataKey, Unopened
from services.openlora.store_traces import Wrapped

_KEPT = 10_000
_BYTES = 32


def service_key(file: Path, database: Database) -> bytes:
    """The service's key, 64 hex digits in a file; made at random for a service that has sealed nothing yet.

    Raises `KeyFileError` for a file that is gone or holds another key than the one in use, and `OSError`.
    """
    sealed = database.read_now(store_traces.any_key)
    if sealed is not None and not file.exists():
        raise KeyFileError(f"{file} is gone: it opens the traces in the database. Put it back from a copy")
    text = key_files.keep(file, lambda: sealing.new_secret().hex().encode())
    try:
        key = bytes.fromhex(text.decode().strip())
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        raise KeyFileError(f"{file} does not hold a key for traces: 64 hex digits")
    if sealed is not None:
        try:
            sealing.unwrap(key, sealed.name, sealed.payer, sealed.secret)
        except Unopened:
            raise KeyFileError(f"{file} holds another key than the one that opens the traces in the database") from None
    return key


class TraceKeys:
    """Payers' data keys."""

    def __init__(self, database: Database, service_key: bytes) -> None:
        self._database, self._service_key = database, service_key
        self._in_use: dict[str, DataKey] = {}
        self._known: dict[str, DataKey] = {}

    async def of(self, payer: str) -> DataKey:
        """The key to seal a payer's trace with; it is on disk when this returns."""
        if payer not in self._in_use:
            found = await self._database.read(lambda c: store_traces.key_of(c, payer))
            _bounded(self._in_use)[payer] = self._unwrap(found or await self._make(payer))
        return self._in_use[payer]

    async def _make(self, payer: str) -> Wrapped:
        fresh = DataKey(uuid.uuid4().hex, sealing.new_secret())
        wrapped = Wrapped(fresh.name, payer, sealing.wrap(self._service_key, fresh, payer))
        return await self._database.write(lambda c: store_traces.key_for(c, payer, wrapped))

    async def named(self, names: Collection[str]) -> Mapping[str, DataKey]:
        """The named keys."""
        found = {name: self._known[name] for name in names if name in self._known}
        missing = set(names).difference(found)
        if missing:
            rows = await self._database.read(lambda c: store_traces.keys(c, missing))
            fresh = {row.name: self._unwrap(row) for row in rows}
            _bounded(self._known).update(fresh)
            found |= fresh
        return found

    def _unwrap(self, row: Wrapped) -> DataKey:
        return sealing.unwrap(self._service_key, row.name, row.payer, row.secret)


def _bounded(known: dict[str, DataKey]) -> dict[str, DataKey]:
    if len(known) >= _KEPT:
        known.clear()
    return known
