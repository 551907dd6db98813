"""What accounts have given, in the database, and how much each may give: else one of them fills the disk for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, select, update

from services.datanet import store
from services.datanet.tables import USE
from services.kit.errors import Fault, exhausted


@dataclass(frozen=True)
class Use:
    """Records, and their canonical bytes, of one account in all datanets."""

    records: int
    bytes: int


def check(connection: Connection, account: str, most: Use) -> None:
    """Raises `Fault` when the account has given all that it may, before it sends any more."""
    row = connection.execute(select(USE.c.records, USE.c.bytes).where(USE.c.account == account)).first()
    if row is not None and (row.records >= most.records or row.bytes >= most.bytes):
        raise _full(account, most)


def add(connection: Connection, account: str, more: Use, most: Use) -> None:
    """Note what an account gives.  Raises `Fault` when that is more than it may give: then nothing of it is taken."""
    inserting = store.upserting(connection, USE).values(account=account, records=more.records, bytes=more.bytes)
    summed: Any = inserting.on_conflict_do_update(
        index_elements=[USE.c.account],
        set_={"records": USE.c.records + more.records, "bytes": USE.c.bytes + more.bytes},
    ).returning(USE.c.records, USE.c.bytes)
    row = connection.execute(summed).one()
    if row.records > most.records or row.bytes > most.bytes:
        raise _full(account, most)


def give_back(connection: Connection, account: str, size: int) -> None:
    """So many bytes of what an account has given are erased, and are not held against it.  The records still count."""
    left = case((USE.c.bytes > size, USE.c.bytes - size), else_=0)
    connection.execute(update(USE).where(USE.c.account == account).values(bytes=left))


def _full(account: str, most: Use) -> Fault:
    return exhausted(
        "ACCOUNT_FULL",
        f"accounts/{account} may give {most.records} records and {most.bytes} bytes in all datanets together, and this "
        "is more. Nothing of it was taken: give less, or ask the operator",
        retry_after=86_400,
    )
