"""An epoch's leaves: what of everybody's earnings its root promises, and what waits for the next one.

The contract lets a root exceed the one before by a cap.  Of an epoch that earned more, everybody's part is paid in the
same proportion, rounded down; the rest is in the books, waits, and is in the next epoch's leaves.  Docs: epochs.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat

from sqlalchemy import Connection

from services.ledger.store import epochs, leaf_pages, settlements
from services.ledger.store.epochs import Epoch, State


@dataclass(frozen=True)
class Leaves:
    """By address, in atomic units: `promised` in all by the root, none of them 0; `waiting` beyond that."""

    promised: Mapping[str, int]
    waiting: Mapping[str, int]


def capped(earned: Mapping[str, int], before: Mapping[str, int], most: int) -> Leaves:
    """What a root promises of what was ever earned, after one that promised `before`, and may add `most` to."""
    total = sum(earned.values()) - sum(map(before.get, earned, repeat(0)))
    if total <= most:
        return Leaves(earned, {})
    owed = {who: amount - before.get(who, 0) for who, amount in earned.items()}
    promised = {who: before.get(who, 0) + amount * most // total for who, amount in owed.items()}
    waiting = {who: earned[who] - amount for who, amount in promised.items() if earned[who] != amount}
    return Leaves({who: amount for who, amount in promised.items() if amount}, waiting)


def derived(connection: Connection, epoch: Epoch, most: int) -> Leaves:
    """The leaves of a sealed epoch as its journals give them, whatever the books hold: what may be proposed."""
    active = epochs.newest(connection, State.ACTIVE)
    before = leaf_pages.leaves(connection, active.number) if active else {}
    earned = dict(before)
    waited = leaf_pages.waiting(connection, active.number) if active else {}
    runs = settlements.of_epoch(connection, epoch.number)
    given = settlements.earned(connection, epoch.number, runs[0].above, runs[-1].through) if runs else {}
    for more in (waited, given):
        for who, amount in more.items():
            earned[who] = earned.get(who, 0) + amount
    return capped({who: amount for who, amount in earned.items() if amount}, before, most)
