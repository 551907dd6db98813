"""The verb "wrap again": keys that earlier versions wrapped under the secret alone get shares, before it serves.

In transactions of so many, each whole: broken off, it goes on where it was.  Copies of the database of before, its log
included, go on to open with the secret: they are the operator's to destroy.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select, update

from services.datanet import sealing
from services.datanet.tables import KEY
from services.datanet.vault import WRAPPED_BYTES, Unopened, Vault
from services.kit import logs
from services.kit.database import Database

_AT_ONCE = 500


def wrap_again(database: Database, vault: Vault) -> int:
    """Returns how many keys that were.  One that does not open stays as it is, and the log names it."""
    wrapped, last = 0, ""
    while True:
        count, last = database.write_now(lambda c, after=last: _some(c, vault, after))  # type: ignore[misc]
        wrapped += count
        if not last:
            break
    if wrapped:
        database.empty_log()
    return wrapped


def _some(connection: Connection, vault: Vault, after: str) -> tuple[int, str]:
    """How many were wrapped again, of records with ids after that one, and the last that was looked at."""
    bare = select(KEY).where(func.length(KEY.c.wrapped) <= WRAPPED_BYTES, KEY.c.record > after)
    some = bare.order_by(KEY.c.record).limit(_AT_ONCE).with_for_update(skip_locked=True)  # others may be at it, too
    rows, anew = connection.execute(some).all(), []
    for row in rows:
        try:
            anew.append({"of": row.record, "to": sealing.wrapped_again(vault, row.record, row.wrapped)})
        except Unopened as error:
            logs.logger("datanet").warning("a record's key does not open", record=row.record, error=str(error))
    if anew:
        connection.execute(update(KEY).where(KEY.c.record == bindparam("of")).values(wrapped=bindparam("to")), anew)
    return len(anew), rows[-1].record if rows else ""
