"""What epochs gave to accounts: by how much each one's leaf rose.  Reads, and nothing else.

Leaves are cumulative and epochs follow one another, so that what an epoch gave is its leaf less that of the epoch
before.  Epochs whose roots were struck out gave nothing: they are sealed again under their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import chain, groupby, islice, pairwise
from operator import itemgetter

from sqlalchemy import Connection

from services.ledger.store import epochs, leaf_pages
from services.ledger.store.epochs import Epoch, State

_EPOCHS = 50
"""Read at once."""
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


def of_epoch(connection: Connection, epoch: int, after: str, limit: int) -> list[Given]:
    """What an epoch gave, in the order of addresses, beyond one of them."""
    found = epochs.get(connection, epoch)
    if found is None or found.state is State.VETOED:
        return []
    kinds = (("leaf", epoch, False), ("waiting", epoch, True), ("before", epoch - 1, False))
    lines = merge(*(_lines(connection, kind, number, after, waiting) for kind, number, waiting in kinds))
    return list(islice(_given(found, lines), limit))


def of_account(connection: Connection, account: str, before: int | None, limit: int) -> list[Given]:
    """What epochs, below a number if there is one, gave to an account, newest first."""
    found: list[Given] = []
    told = chain(_history(connection, account, before), [None])
    for now, earlier in pairwise(told):
        if now is None or len(found) == limit:
            break
        epoch, leaf, waiting = now
        rose = leaf - (earlier[1] if earlier else 0)
        if epoch.state is not State.VETOED and (rose or waiting):
            found.append(Given(epoch.number, account, rose, leaf, waiting, epoch.state))
    return found


def _history(connection: Connection, account: str, before: int | None) -> Iterator[tuple[Epoch, int, int]]:
    """Epochs below a number, newest first, with the account's leaf and what waits beyond it."""
    while page := epochs.page(connection, before, _EPOCHS):
        for epoch in page:
            pages = (leaf_pages.around(connection, epoch.number, account, waiting=kind) for kind in (False, True))
            leaf, waiting = (amounts.get(account, 0) for amounts in pages)
            yield epoch, leaf, waiting
        before = page[-1].number


def _lines(connection: Connection, kind: str, epoch: int, after: str, waiting: bool) -> Iterator[Line]:
    amounts = leaf_pages.following(connection, epoch, after, waiting=waiting)
    return ((account, kind, amount) for account, amount in amounts)


def _given(epoch: Epoch, lines: Iterable[Line]) -> Iterator[Given]:
    """`lines` in the order of accounts."""
    for account, of in groupby(lines, itemgetter(0)):
        amounts = {kind: amount for _, kind, amount in of}
        leaf, waiting = amounts.get("leaf", 0), amounts.get("waiting", 0)
        if waiting or leaf != amounts.get("before", 0):
            yield Given(epoch.number, account, leaf - amounts.get("before", 0), leaf, waiting, epoch.state)
