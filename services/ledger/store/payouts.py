"""What epochs gave to accounts: by how much each one's leaf rose.  Reads, and nothing else.

Leaves are cumulative and epochs follow one another, so that what an epoch gave is its leaf less that of the epoch
before.  Epochs whose roots were struck out gave nothing: they are sealed again under their numbers.

Anybody may ask, and most epochs give most accounts nothing: so what is looked at in one reading is bounded, and where
it ended is said with what was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import chain, groupby, pairwise
from operator import itemgetter

from sqlalchemy import Connection

from services.ledger.store import epochs, leaf_pages
from services.ledger.store.epochs import Epoch, State

EPOCHS, ACCOUNTS = 200, 20_000
"""The most that one reading looks at."""
_PAGE = 50
"""Epochs read at once."""
Line = tuple[str, str, int]
"""An account, what of it, how much."""


@dataclass(frozen=True)
class Given:
    """`amount`: what the epoch gave; `waiting`: what was earned by then beyond the leaf.  Atomic units."""

    epoch: int
    account: str
    amount: int
    cumulative: int
    waiting: int
    state: State


def of_epoch(connection: Connection, epoch: int, after: str, limit: int) -> tuple[list[Given], str]:
    """What an epoch gave, in the order of addresses, beyond one of them; and beyond which it goes on, "" at the end."""
    found = epochs.get(connection, epoch)
    if found is None or found.state is State.VETOED:
        return [], ""
    kinds = (("leaf", epoch, False), ("waiting", epoch, True), ("before", epoch - 1, False))
    lines = merge(*(_lines(connection, kind, number, after, waiting) for kind, number, waiting in kinds))
    given: list[Given] = []
    for looked, (account, of) in enumerate(groupby(lines, itemgetter(0))):
        if len(given) == limit or looked == ACCOUNTS:
            return given, after
        amounts, after = {kind: amount for _, kind, amount in of}, account
        leaf, waiting = amounts.get("leaf", 0), amounts.get("waiting", 0)
        rose = leaf - amounts.get("before", 0)
        if waiting or rose:
            given.append(Given(epoch, account, rose, leaf, waiting, found.state))
    return given, ""


def of_account(
    connection: Connection, account: str, before: int | None, limit: int, most: int
) -> tuple[list[Given], int | None]:
    """What epochs, below a number if there is one, gave to an account, newest first; and below which it goes on.

    `most`: how many epochs are looked at.  None at the end.
    """
    found: list[Given] = []
    told = chain(_history(connection, account, before), [None])
    for looked, (now, earlier) in enumerate(pairwise(told)):
        assert now is not None
        epoch, leaf, waiting = now
        if len(found) == limit or looked == most:
            return found, epoch.number + 1
        rose = leaf - (earlier[1] if earlier else 0)
        if epoch.state is not State.VETOED and (rose or waiting):
            found.append(Given(epoch.number, account, rose, leaf, waiting, epoch.state))
    return found, None


def _history(connection: Connection, account: str, before: int | None) -> Iterator[tuple[Epoch, int, int]]:
    """Epochs below a number, newest first, with the account's leaf and what waits beyond it."""
    while page := epochs.page(connection, before, _PAGE):
        for epoch in page:
            pages = (leaf_pages.around(connection, epoch.number, account, waiting=kind) for kind in (False, True))
            leaf, waiting = (amounts.get(account, 0) for amounts in pages)
            yield epoch, leaf, waiting
        before = page[-1].number


def _lines(connection: Connection, kind: str, epoch: int, after: str, waiting: bool) -> Iterator[Line]:
    amounts = leaf_pages.following(connection, epoch, after, waiting=waiting)
    return ((account, kind, amount) for account, amount in amounts)
