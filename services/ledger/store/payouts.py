"""What epochs gave to accounts: by how much each one's leaf rose.  Reads, and nothing else.

Leaves are cumulative and epochs follow one another, so that what an epoch gave is its leaf less that of the epoch
before.  Epochs whose roots were struck out gave nothing: they are sealed again under their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, literal, or_, select

from services.kit.database import Amount
from services.ledger.store.epochs import State
from services.ledger.store.tables import EPOCH, LEAF

_BEFORE = LEAF.alias("before")
_NOTHING = literal(0, Amount())


@dataclass(frozen=True)
class Given:
    """`amount`: what the epoch gave; `waiting`: what was earned by then beyond the leaf.  Atomic units."""

    epoch: int
    account: str
    amount: int
    cumulative: int
    waiting: int
    state: State


def of_epoch(connection: Connection, epoch: int, after: str, limit: int) -> list[Given]:
    """What an epoch gave, in the order of addresses, beyond one of them."""
    query = _given().where(EPOCH.c.number == epoch, LEAF.c.account > after).order_by(LEAF.c.account)
    return _all(connection, query, limit)


def of_account(connection: Connection, account: str, before: int | None, limit: int) -> list[Given]:
    """What epochs, below a number if there is one, gave to an account, newest first."""
    query = _given().where(LEAF.c.account == account).order_by(EPOCH.c.number.desc())
    return _all(connection, query if before is None else query.where(EPOCH.c.number < before), limit)


def _given() -> Select[Any]:
    earlier = and_(_BEFORE.c.epoch == EPOCH.c.number - 1, _BEFORE.c.account == LEAF.c.account)
    rose = LEAF.c.cumulative != func.coalesce(_BEFORE.c.cumulative, _NOTHING)
    return (
        select(EPOCH.c.number, EPOCH.c.state, LEAF.c.account, LEAF.c.cumulative, LEAF.c.waiting)
        .add_columns(_BEFORE.c.cumulative.label("before"))
        .join(LEAF, LEAF.c.epoch == EPOCH.c.number)
        .outerjoin(_BEFORE, earlier)
        .where(EPOCH.c.state != str(State.VETOED), or_(rose, LEAF.c.waiting != 0))
    )


def _all(connection: Connection, query: Select[Any], limit: int) -> list[Given]:
    rows = connection.execute(query.limit(limit))
    return [
        Given(number, account, cumulative - (before or 0), cumulative, waiting, State(state))
        for number, state, account, cumulative, waiting, before in rows
    ]
