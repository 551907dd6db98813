"""Epochs, and what has to be redeemed and anchored on chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from services.ledger.store import leaf_pages
from services.ledger.store.payers import Unredeemed
from services.ledger.store.tables import (
    ANCHORING,
    BUNDLE_SPLITS,
    DOCUMENT,
    EPOCH,
    JOURNAL,
    RECEIPT,
    REDEMPTION,
    insert_new,
)


class State(StrEnum):
    """Where an epoch stands; as in the API."""

    SEALED = "SEALED"
    PROPOSED = "PROPOSED"
    ACTIVE = "ACTIVE"
    VETOED = "VETOED"


UNDONE = "undone"
"""The batch of redemptions that the chain took back."""
_NOTHING: Mapping[str, int] = {}
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Epoch:
    """An epoch as stored.  `root` and `log_root` are hex; `activate_time` is Unix seconds, 0 while unknown.

    `bundle` is the SHA-256 of its published manifest; None until there is one.  `held_up` says why it does not go on;
    `waiting` is what its leaves leave for the next epoch.
    """

    number: int
    attempt: int
    state: State
    root: str
    log_root: str
    receipt_count: int
    leaf_count: int
    total: int
    operation: str
    transaction: str = ""
    activate_time: int = 0
    create_time: datetime = _NEVER
    bundle: str | None = None
    held_up: str = ""
    waiting: int = 0

    @property
    def key(self) -> str:
        """Names this sealing of the epoch, which a veto may make one of several."""
        return f"{self.number}.{self.attempt}"


@dataclass(frozen=True)
class Anchoring:
    """A snapshot's root on its way to the chain."""

    snapshot: str
    root: str
    records: int
    operation: str
    done: bool = False


def newest(connection: Connection, *states: State) -> Epoch | None:
    """The newest epoch, or the newest in one of those states."""
    return _first(connection, _in(states).order_by(EPOCH.c.number.desc()))


def oldest(connection: Connection, *states: State) -> Epoch | None:
    """The oldest epoch in one of those states."""
    return _first(connection, _in(states).order_by(EPOCH.c.number))


def get(connection: Connection, number: int) -> Epoch | None:
    """One epoch."""
    return _first(connection, select(EPOCH).where(EPOCH.c.number == number))


def page(connection: Connection, before: int | None, limit: int) -> list[Epoch]:
    """Epochs below a number, newest first."""
    query = select(EPOCH).order_by(EPOCH.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(EPOCH.c.number < before)
    return [_epoch(row) for row in connection.execute(query)]


def open_receipts(connection: Connection) -> list[str]:
    """Digests of the receipts that no epoch settles yet, in the order in which they were journaled."""
    query = select(RECEIPT.c.sha256).join(JOURNAL, RECEIPT.c.journal == JOURNAL.c.number)
    # Without its document a receipt was paid as it was booked, by a version before there were settlements.
    query = query.join(DOCUMENT, DOCUMENT.c.journal == JOURNAL.c.number).where(JOURNAL.c.epoch.is_(None))
    return list(connection.execute(query.order_by(JOURNAL.c.number)).scalars())


def store(
    connection: Connection,
    epoch: Epoch,
    leaves: Mapping[str, int],
    waiting: Mapping[str, int] = _NOTHING,
    nodes: Sequence[bytes] = (),
) -> Epoch:
    """Seal: the epoch, its leaves with their pages' nodes, what waits, and every open receipt into it.

    Replaces the epoch of that number, if it was vetoed.
    """
    leaf_pages.drop(connection, epoch.number)
    connection.execute(delete(EPOCH).where(EPOCH.c.number == epoch.number))
    values: dict[str, Any] = vars(epoch) | {"state": str(epoch.state), "create_time": datetime.now(UTC)}
    connection.execute(insert(EPOCH).values(**values))
    leaf_pages.add(connection, epoch.number, leaves, waiting, nodes)
    mine = select(RECEIPT.c.journal)
    connection.execute(
        update(JOURNAL).where(JOURNAL.c.epoch.is_(None), JOURNAL.c.number.in_(mine)).values(epoch=epoch.number)
    )
    return replace(epoch, create_time=values["create_time"])


def reseal(
    connection: Connection,
    epoch: Epoch,
    leaves: Mapping[str, int],
    waiting: Mapping[str, int],
    nodes: Sequence[bytes],
) -> None:
    """Other leaves, with their root and sums, for a sealed epoch that nobody has seen."""
    leaf_pages.drop(connection, epoch.number)
    values = {name: getattr(epoch, name) for name in ("root", "total", "leaf_count", "waiting", "bundle")}
    connection.execute(update(EPOCH).where(EPOCH.c.number == epoch.number).values(**values))
    leaf_pages.add(connection, epoch.number, leaves, waiting, nodes)


def hold_up(connection: Connection, number: int, why: str) -> None:
    """Why it does not go on; nothing where it does."""
    connection.execute(update(EPOCH).where(EPOCH.c.number == number).values(held_up=why))


def advance(connection: Connection, epoch: Epoch, state: State, **values: Any) -> Epoch:
    """The epoch in its next state."""
    connection.execute(update(EPOCH).where(EPOCH.c.number == epoch.number).values(state=str(state), **values))
    found = get(connection, epoch.number)
    assert found is not None
    return found


def published(connection: Connection, number: int, bundle: str, splits: str) -> None:
    """Its bundle is among the artifacts; `splits`: what it says of these, as JSON."""
    connection.execute(update(EPOCH).where(EPOCH.c.number == number).values(bundle=bundle))
    connection.execute(delete(BUNDLE_SPLITS).where(BUNDLE_SPLITS.c.epoch == number))
    connection.execute(insert(BUNDLE_SPLITS).values(epoch=number, document=splits))


def published_splits(connection: Connection, epoch: Epoch) -> str | None:
    """What the epoch's bundle says of splits; None where it has none, or one of before this was kept."""
    if epoch.bundle is None:
        return None  # what is there is of a sealing that was struck out
    query = select(BUNDLE_SPLITS.c.document).where(BUNDLE_SPLITS.c.epoch == epoch.number)
    return connection.execute(query).scalar()


def reopen(connection: Connection, number: int) -> None:
    """After a veto: its receipts are open again, for the next sealing."""
    connection.execute(update(JOURNAL).where(JOURNAL.c.epoch == number).values(epoch=None))


def plan_redemption(connection: Connection, batch: str, lines: Sequence[Unredeemed]) -> None:
    """Lines to redeem in one transaction."""
    rows = [vars(line) | {"batch": batch} for line in lines]
    connection.execute(insert(REDEMPTION), rows)


def plan_again(connection: Connection, batch: str, line: Unredeemed) -> None:
    """A line that is to be redeemed on its own when it is needed; known ones stay."""
    insert_new(connection, REDEMPTION, **vars(line), batch=batch)


def batches(connection: Connection, prefix: str) -> list[str]:
    """The batches whose names begin so, in order."""
    query = select(REDEMPTION.c.batch).where(REDEMPTION.c.batch.startswith(prefix)).distinct()
    return sorted(connection.execute(query).scalars())


def redemptions(connection: Connection, batch: str) -> list[Unredeemed]:
    """A batch's lines."""
    query = select(REDEMPTION).where(REDEMPTION.c.batch == batch).order_by(REDEMPTION.c.payer)
    return [Unredeemed(row.payer, row.spent, row.cap, row.deadline, row.signature) for row in connection.execute(query)]


def drop_batch(connection: Connection, batch: str) -> None:
    """A batch that has run its course."""
    connection.execute(delete(REDEMPTION).where(REDEMPTION.c.batch == batch))


def new_anchoring(connection: Connection, anchoring: Anchoring) -> bool:
    """Keep it; says whether it is the first for that snapshot."""
    return insert_new(connection, ANCHORING, **vars(anchoring))


def anchoring(connection: Connection, snapshot: str) -> Anchoring | None:
    """The anchoring of a snapshot."""
    row = connection.execute(select(ANCHORING).where(ANCHORING.c.snapshot == snapshot)).first()
    return None if row is None else Anchoring(*row)


def open_anchorings(connection: Connection) -> list[Anchoring]:
    """Anchorings that are not done."""
    return [Anchoring(*row) for row in connection.execute(select(ANCHORING).where(ANCHORING.c.done.is_(False)))]


def end_anchoring(connection: Connection, snapshot: str) -> None:
    """It is on chain."""
    connection.execute(update(ANCHORING).where(ANCHORING.c.snapshot == snapshot).values(done=True))


def drop_anchoring(connection: Connection, snapshot: str) -> None:
    """It did not get on chain."""
    connection.execute(delete(ANCHORING).where(ANCHORING.c.snapshot == snapshot))


def count(connection: Connection) -> int:
    """How many epochs there are."""
    return int(connection.execute(select(func.count()).select_from(EPOCH)).scalar_one())


def _in(states: Sequence[State]) -> Select[Any]:
    query = select(EPOCH)
    return query.where(EPOCH.c.state.in_([str(state) for state in states])) if states else query


def _first(connection: Connection, query: Select[Any]) -> Epoch | None:
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _epoch(row)


def _epoch(row: Row[Any]) -> Epoch:
    values = dict(row._mapping)
    created = values["create_time"]
    # SQLite keeps no time zone; everything that is stored is UTC.
    aware = created if created.tzinfo else created.replace(tzinfo=UTC)
    return Epoch(**values | {"state": State(values["state"]), "create_time": aware})
