"""Payers' authorisations and their leases."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, or_, select, update

from services.kit.database import bound_pause
from services.ledger import journal
from services.ledger.lease import Lease, Payer
from services.ledger.store import books, bulk
from services.ledger.store.books import Sums
from services.ledger.store.tables import LEASE, PAYER, insert_new


@dataclass(frozen=True)
class Unredeemed:
    """What a payer spent, and the signature under which it can be taken."""

    payer: str
    spent: int
    cap: int
    deadline: int
    signature: bytes


@dataclass(frozen=True)
class Owed:
    """What all payers spent that the escrow has not given; `lapsed`: of that, under authorisations that are over."""

    unredeemed: int
    lapsed: int


def lock(connection: Connection, address: str) -> Payer:
    """The payer, whom no other transaction changes until this one ends."""
    bound_pause(connection, books.PAUSE_SECONDS)
    insert_new(
        connection,
        PAYER,
        address=address,
        cap=0,
        deadline=0,
        signature=b"",
        spent=0,
        redeemed=0,
        withdrawing=0,
    )
    row = connection.execute(select(PAYER).where(PAYER.c.address == address).with_for_update()).one()
    return _payer(connection, row)


def lock_all(connection: Connection, addresses: Collection[str]) -> dict[str, Payer]:
    """Payers by address, locked like `lock`'s; one who never did anything has nothing, and nothing to lock.

    Lock the books first: two who lock several payers would wait for each other.
    """
    wanted = sorted(set(addresses))
    query = select(PAYER).where(bulk.among(PAYER.c.address, wanted)).order_by(PAYER.c.address)
    rows = {row.address: row for row in connection.execute(query.with_for_update())}
    had = books.sums(connection, [journal.payer(address) for address in wanted])
    balances = {address: had.get(journal.payer(address), Sums()).balance for address in wanted}
    return {
        who: _with_balance(rows[who], balances[who]) if who in rows else Payer(who, balances[who]) for who in wanted
    }


def get(connection: Connection, address: str) -> Payer:
    """The payer; one who never did anything has nothing."""
    row = connection.execute(select(PAYER).where(PAYER.c.address == address)).first()
    if row is None:
        return Payer(address, books.book(connection, journal.payer(address)).balance)
    return _payer(connection, row)


def authorise(connection: Connection, address: str, cap: int, deadline: int, signature: bytes) -> None:
    """Keep the newest authorisation, by which spending is redeemed."""
    _update(connection, address, cap=cap, deadline=deadline, signature=signature)


def set_spent(connection: Connection, address: str, spent: int) -> None:
    """Cumulative spending."""
    set_all_spent(connection, [(address, spent)])


def set_all_spent(connection: Connection, spent: Sequence[tuple[str, int]]) -> None:
    """Cumulative spending of payers, by address."""
    bulk.change(connection, PAYER, "address", ("spent",), spent)


def set_withdrawing(connection: Connection, address: str, amount: int) -> None:
    """What the payer asked back on chain."""
    _update(connection, address, withdrawing=amount)


def set_redeemed(connection: Connection, address: str, redeemed: int) -> None:
    """Cumulative spending that the chain has moved to the distributor."""
    _update(connection, address, redeemed=redeemed)


def redeemed_of(connection: Connection, address: str) -> int:
    """What was taken of the payer's deposits."""
    return int(connection.execute(select(PAYER.c.redeemed).where(PAYER.c.address == address)).scalar_one())


def unredeemed(connection: Connection, *, more_than: int | None = None) -> list[Unredeemed]:
    """Payers who spent what was not redeemed yet, or more of it than that, in the order of their addresses."""
    rows = connection.execute(_UNREDEEMED)
    return [_unredeemed(row) for row in rows if more_than is None or row.spent - row.redeemed > more_than]


def owed(connection: Connection, now: float | None = None) -> Owed:
    """What the escrow has still to give, all together."""
    now = time.time() if now is None else now
    owing = [(row.spent - row.redeemed, row.deadline < now) for row in connection.execute(_UNREDEEMED)]
    return Owed(sum(amount for amount, _ in owing), sum(amount for amount, over in owing if over))


def redeemed(connection: Connection) -> int:
    """What was taken of all payers' deposits."""
    rows = connection.execute(select(PAYER.c.redeemed).where(PAYER.c.redeemed != 0))
    return sum(int(row.redeemed) for row in rows)


def unredeemed_of(connection: Connection, address: str) -> Unredeemed | None:
    """What one payer spent, if it was not redeemed yet."""
    row = connection.execute(_UNREDEEMED.where(PAYER.c.address == address)).first()
    return None if row is None else _unredeemed(row)


def leaving(connection: Connection, now: float, room: float) -> list[Unredeemed]:
    """Payers whose spending cannot wait for an epoch: asked back beyond what is unspent, or signed for soon no more.

    `room`: how many seconds before its end an authorisation is used.  One that is over is of no use any more.
    """
    soon = PAYER.c.deadline < int(now + room)
    query = _UNREDEEMED.where(PAYER.c.deadline >= int(now), or_(PAYER.c.withdrawing != 0, soon))
    rows = connection.execute(query).all()
    unspent = books.sums(connection, [journal.payer(row.address) for row in rows if row.withdrawing])

    def must(row: Row[Any]) -> bool:
        balance = unspent.get(journal.payer(row.address), Sums()).balance
        return bool(row.deadline < int(now + room) or row.withdrawing > balance)

    return [_unredeemed(row) for row in rows if must(row)]


def new_lease(connection: Connection, lease: Lease) -> None:
    """A new lease."""
    connection.execute(insert(LEASE).values(**_values(lease)))


def save_lease(connection: Connection, lease: Lease) -> None:
    """A lease after a change."""
    save_leases(connection, [lease])


def save_leases(connection: Connection, leases: Iterable[Lease]) -> None:
    """Leases after a change; what they were given with does not change."""
    rows = [(lease.name, lease.held, lease.charged, lease.released, lease.settled) for lease in leases]
    bulk.change(connection, LEASE, "name", ("held", "charged", "released", "settled"), rows)


def lease(connection: Connection, name: str) -> Lease | None:
    """One lease.  Lock its payer before changing it."""
    row = connection.execute(select(LEASE).where(LEASE.c.name == name)).first()
    return None if row is None else _lease(row)


def leases(connection: Connection, names: Collection[str], of: Collection[str], read: float) -> list[Lease]:
    """Leases of those names, and all of those payers that reserve something.  Lock the payers first."""
    reserving = and_(bulk.among(LEASE.c.payer, of), *_reserving(read))
    query = select(LEASE).where(or_(bulk.among(LEASE.c.name, names), reserving))
    return [_lease(row) for row in connection.execute(query)]


def end_leases(connection: Connection, addresses: Collection[str], read: float) -> None:
    """What those payers' leases reserved that have run out is free for good, also by a clock that is put back.

    For whoever gives it to others.  Lock the payers first.
    """
    over = bulk.among(LEASE.c.payer, addresses), LEASE.c.settled.is_(False), LEASE.c.reserved_until <= int(read)
    connection.execute(update(LEASE).where(*over).values(held=LEASE.c.charged, settled=True))


def open_leases(connection: Connection, payer: str, read: float) -> Sequence[Lease]:
    """The payer's leases that reserve something."""
    query = select(LEASE).where(LEASE.c.payer == payer, *_reserving(read))
    return [_lease(row) for row in connection.execute(query)]


def _reserving(read: float) -> tuple[ColumnElement[bool], ...]:
    return LEASE.c.settled.is_(False), LEASE.c.reserved_until > int(read)


# Amounts have one spelling each, so that "differs" means the same in text and in numbers.
_UNREDEEMED = select(PAYER).where(PAYER.c.spent != PAYER.c.redeemed).order_by(PAYER.c.address)


def _unredeemed(row: Row[Any]) -> Unredeemed:
    return Unredeemed(row.address, row.spent, row.cap, row.deadline, row.signature)


def _update(connection: Connection, address: str, **values: Any) -> None:
    connection.execute(update(PAYER).where(PAYER.c.address == address).values(**values))


def _payer(connection: Connection, row: Row[Any]) -> Payer:
    return _with_balance(row, books.book(connection, journal.payer(row.address)).balance)


def _with_balance(row: Row[Any], balance: int) -> Payer:
    return Payer(row.address, balance, row.cap, row.deadline, row.spent, row.withdrawing)


def _values(lease: Lease) -> dict[str, Any]:
    return vars(lease) | {"settled": lease.settled}


def _lease(row: Row[Any]) -> Lease:
    return Lease(
        row.name,
        row.payer,
        row.amount,
        row.held,
        row.charged,
        row.expire_time,
        row.reserved_until,
        row.released,
    )
