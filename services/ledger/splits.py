"""Which split a revision's answers are paid by: what the registry says, over time.  Pure.

A revision's splits follow each other without a gap: this ledger's own until its registration, then the registered one,
then each that its developer made hold.  A change counts from the time of its block.  It is known here only some blocks
later, and clocks differ, so an answer that ended within `lag` seconds of a change may be paid by either.

What it does not know: whether the time in a receipt is right; that is its signer's word, and the trace's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.ledger.registries import Split


@dataclass(frozen=True, slots=True)
class Change:
    """That a split holds from a block on: its time in Unix seconds, its number, and the transaction (0x hex)."""

    split: Split
    time: int
    block: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class Held:
    """What holds from one change to the next.  `since` None: before the registration, this ledger's own split."""

    since: Change | None
    until: int | None
    """Unix seconds of the next change; None while there is none."""

    def holds(self, time: int, lag: int = 0) -> bool:
        """Whether an answer that ended then may be paid by it."""
        begun = self.since is None or self.since.time - lag <= time
        return begun and (self.until is None or time < self.until + lag)


UNREGISTERED: tuple[Held, ...] = (Held(None, None),)


def history(changes: Sequence[Change]) -> tuple[Held, ...]:
    """What held, from the changes in the order of the chain."""
    if not changes:
        return UNREGISTERED
    between = (Held(before, after.time) for before, after in pairwise(changes))
    return (Held(None, changes[0].time), *between, Held(changes[-1], None))


def at(held: Sequence[Held], time: int) -> Held:
    """The one that holds at a time; of changes in one second the last."""
    return next(one for one in reversed(held) if one.since is None or one.since.time <= time)


def allowed(held: Sequence[Held], time: int | None, lag: int) -> list[Held]:
    """Those by which an answer may be paid that ended then.

    Where it is not known when it did, this ledger's own: whoever could say so made receipts by no other.
    """
    if time is None:
        return list(held[:1])
    return [one for one in held if one.holds(time, lag)]


def used(held: Sequence[Held], split: Split, time: int | None, lag: int) -> Held | None:
    """By which of them an answer was paid with that split: the one of its time if it can be, else the first that may.

    None where none may.
    """
    found = [one for one in allowed(held, time, lag) if one.since is None or one.since.split == split]
    exactly = at(held, time) if time is not None else None
    return exactly if exactly in found else next(iter(found), None)
