"""The verb "liken": records of before likeness was looked for are found as well, before the service serves.

In transactions of so many, each whole: broken off, it goes on where it was.
"""

from __future__ import annotations

from sqlalchemy import Connection

from services.datanet import sealing, store_likeness, store_records
from services.datanet.vault import Vault
from services.kit.database import Database

_AT_ONCE = 500


def liken(database: Database, vault: Vault) -> int:
    """Returns how many records that were.  Those that nobody can open are like nothing."""
    likened, closed = 0, set[str]()
    while count := database.write_now(lambda c: _some(c, vault, closed)):
        likened += count
    return likened - len(closed)


def _some(connection: Connection, vault: Vault, closed: set[str]) -> int:
    store_likeness.hold(connection)  # others may be at it, too
    found = dict(store_likeness.missing(connection, _AT_ONCE, closed))
    said = store_records.contents(connection, vault, list(found))
    closed.update(found.keys() - said.keys())
    texts = [sealing.liken(vault, one, key, said[one].fields) for one, key in found.items() if one in said]
    store_likeness.add(connection, texts)
    return len(found)
