"""The verb "seal what is in clear": records of versions that kept them so, before the service serves again.

In transactions of so many, each whole: broken off, it goes on where it was.  A database without such records, and every
new one, has nothing to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
    text,
)

from services.datanet import sealing
from services.datanet.tables import CONTENT, FIRST, KEY
from services.datanet.vault import Vault
from services.kit import logs
from services.kit.database import Database

_BEFORE = MetaData()
_CONTENT = Table(
    "record_content_clear",
    _BEFORE,
    Column("record", Text, primary_key=True),
    Column("salt", LargeBinary),
    Column("canonical", LargeBinary),
)
_FIRST = Table(
    "first_record_clear", _BEFORE, Column("fingerprint", LargeBinary, primary_key=True), Column("record", Text)
)
_AT_ONCE = 500
_ONE_AT_A_TIME = 0x5EA1


def seal_clear(database: Database, vault: Vault) -> int:
    """Seal all that earlier versions left in clear, and destroy it.  Returns how many rows that were.

    PostgreSQL gives the dropped tables' files back; its archives of log files are the operator's.
    """
    sealed = 0
    for before, seal in ((_CONTENT, _seal_contents), (_FIRST, _seal_fingerprints)):
        while count := database.write_now(lambda c, b=before, s=seal: _some(c, vault, b, s)):  # type: ignore[misc]
            sealed += count
    if not database.empty_log():  # always: an earlier start may have died before it came to this
        logs.logger("datanet").warning(
            "what was sealed may still lie in clear in the database's log until it is emptied"
        )
    return sealed


def _some(connection: Connection, vault: Vault, before: Table, seal: Callable[..., None]) -> int:
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyhow
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})"))
    if not inspect(connection).has_table(before.name):
        return 0
    (key, *_) = before.primary_key.columns
    rows = connection.execute(select(before).order_by(key).limit(_AT_ONCE)).all()
    if not rows:
        before.drop(connection)
        return 0
    seal(connection, vault, rows)
    connection.execute(delete(before).where(key.in_([getattr(row, key.name) for row in rows])))
    return len(rows)


def _seal_contents(connection: Connection, vault: Vault, rows: Sequence[Row[Any]]) -> None:
    boxes = {row.record: sealing.seal(vault, row.record, row.salt, row.canonical) for row in rows}
    connection.execute(insert(CONTENT), [{"record": r, "ciphertext": box.ciphertext} for r, box in boxes.items()])
    connection.execute(insert(KEY), [{"record": r, "wrapped": box.wrapped} for r, box in boxes.items()])


def _seal_fingerprints(connection: Connection, vault: Vault, rows: Sequence[Row[Any]]) -> None:
    tokens = [(sealing.fingerprint_token(vault, row.fingerprint), row.record) for row in rows]
    connection.execute(insert(FIRST), [{"fingerprint": token, "record": record} for token, record in tokens])
