"""The verb "wrap again": keys that earlier versions wrapped under the secret alone get shares, before it serves.

In transactions of so many, each whole: broken off, it goes on where it was.  Copies of the database of before, its log
included, go on to open with the secret: they are the operator's to destroy.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select, update

from services.datanet import sealing
from services.datanet.tables import KEY
from services.datanet.vault import WRAPPED_BYTES, Vault
from services.kit.database import Database

_AT_ONCE = 500


def wrap_again(database: Database, vault: Vault) -> int:
    """Returns how many keys that were.  Raises `Unopened`."""
    wrapped = 0
    while vault.has_shares and (count := database.write_now(lambda c: _some(c, vault))):
        wrapped += count
    if wrapped:
        database.empty_log()
    return wrapped


def _some(connection: Connection, vault: Vault) -> int:
    bare = select(KEY).where(func.length(KEY.c.wrapped) <= WRAPPED_BYTES).order_by(KEY.c.record).limit(_AT_ONCE)
    rows = connection.execute(bare.with_for_update(skip_locked=True)).all()  # others may be at it, too
    if rows:
        anew = [{"of": r.record, "to": sealing.wrapped_again(vault, r.record, r.wrapped)} for r in rows]
        connection.execute(update(KEY).where(KEY.c.record == bindparam("of")).values(wrapped=bindparam("to")), anew)
    return len(rows)
