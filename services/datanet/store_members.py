"""Members in the database, and where a caller stands in a datanet."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from services.datanet import store
from services.datanet.members import Member, Role, Standing, State
from services.datanet.model import datanet_name
from services.datanet.tables import MEMBER, RECORD
from services.kit.auth import Principal
from services.kit.errors import not_found


def standing(connection: Connection, datanet: str, caller: Principal, *, lock: bool = False) -> Standing:
    """Where a caller stands.  `lock` holds the datanet until the transaction ends.

    Raises `Fault` when there is no such datanet, and the same one when it is not the caller's to know of.
    """
    found = store.locked(connection, datanet) if lock else store.get(connection, datanet)
    at = Standing(found, caller, get(connection, datanet, caller.address) if caller.address else None)
    if not at.sees and caller.address:
        at = Standing(found, caller, at.member, gave=_gave(connection, datanet, caller.address))
    if not at.sees:
        raise not_found("DATANET_NOT_FOUND", f"there is no {datanet_name(datanet)}")
    return at


def get(connection: Connection, datanet: str, account: str) -> Member | None:
    """An account's membership, if it has one."""
    row = connection.execute(_of(select(MEMBER), datanet, account)).first()
    return _member(row) if row is not None else None


def put(connection: Connection, member: Member) -> None:
    """Keep a membership, new or changed.  The datanet must be locked."""
    row = asdict(member)
    changed = connection.execute(_of(update(MEMBER), member.datanet, member.account).values(row))
    if not changed.rowcount:
        connection.execute(insert(MEMBER).values(row))


def remove(connection: Connection, datanet: str, account: str) -> bool:
    """End a membership; false when there is none."""
    return connection.execute(_of(delete(MEMBER), datanet, account)).rowcount > 0


def count(connection: Connection, datanet: str) -> int:
    """Members, those invited and those who asked included."""
    return int(connection.execute(select(func.count()).where(MEMBER.c.datanet == datanet)).scalar_one())


def page(connection: Connection, datanet: str, after: str, limit: int) -> list[Member]:
    """Members by address, after that one."""
    query = select(MEMBER).where(MEMBER.c.datanet == datanet, MEMBER.c.account > after)
    return [_member(row) for row in connection.execute(query.order_by(MEMBER.c.account).limit(limit))]


def _gave(connection: Connection, datanet: str, account: str) -> bool:
    mine = select(RECORD.c.id).where(RECORD.c.datanet == datanet, RECORD.c.contributor == account)
    return connection.execute(mine.limit(1)).first() is not None


def _of(statement: Any, datanet: str, account: str) -> Any:
    return statement.where(MEMBER.c.datanet == datanet, MEMBER.c.account == account)


def _member(row: Any) -> Member:
    return Member(**(row._asdict() | {"role": Role(row.role), "state": State(row.state)}))
