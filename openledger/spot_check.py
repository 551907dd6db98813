"""A spot check: which of many receipts are computed again, and what is known of all when so many of those are wrong.

Whoever made the receipts must have been bound to all of them before the seed was known; then it could not know which
will be looked at. There are two draws, for two questions:

- how many are wrong: every receipt has a ticket, the SHA-256 of seed and receipt, and the lowest tickets are drawn;
- how much of the money is in wrong ones: units of the fees are drawn, by one SHA-256 each, and with a unit the receipt
  that it is in: one that costs twice as much is drawn twice as often.

Both bounds are exact, of the hypergeometric and the binomial distribution, in whole numbers. What makes a receipt wrong
is not known here. Pure.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import comb
from typing import NamedTuple, Protocol, TypeVar

PARTS = 1_000_000
"""In which a part of the money is told."""
_BITS = 256


class Item(NamedTuple):
    """A receipt: its SHA-256 in hex, what the answer cost in atomic units, and its bytes."""

    digest: str
    fee: int
    data: bytes


class Drawable(Protocol):
    """Something by its SHA-256, in hex."""

    @property
    def digest(self) -> str:
        """No other one has it."""


Drawn = TypeVar("Drawn", bound=Drawable)


def by_number(items: Iterable[Drawn], seed: bytes, count: int) -> list[Drawn]:
    """`count` of the items, or all if there are fewer: every choice of so many is as likely as any other."""
    return heapq.nsmallest(count, items, key=lambda item: _hash(b"number", seed, bytes.fromhex(item.digest)))


def by_money(items: Iterable[Item], total: int, seed: bytes, count: int) -> list[Item]:
    """For each of `count` units the item that it is in, in the items' order; one item may be there more than once.

    total: of the items' fees, more than nothing. That 2**256 is no multiple of it makes some units likelier, by less
    than total / 2**256. Raises `ValueError` where the fees are less.
    """
    units = sorted(_unit(total, seed, number) for number in range(count))
    found: list[Item] = []
    end = 0
    for item in items:
        end += item.fee
        while len(found) < count and units[len(found)] < end:
            found.append(item)
    if len(found) < count:
        raise ValueError(f"the fees are {end} together, not {total}")
    return found


def most_wrong(population: int, drawn: int, wrong: int, doubt: Fraction) -> int:
    """How many of a population may be wrong, where `wrong` of `drawn` are (drawn by number, none twice).

    Were more of them wrong, a draw with so few wrong ones would have a probability of at most `doubt`.
    """
    low, high = wrong, population - drawn + wrong
    while low < high:
        middle = (low + high + 1) // 2
        ways = _ways(population, middle, drawn, wrong)
        if ways * doubt.denominator > doubt.numerator * comb(population, drawn):
            low = middle
        else:
            high = middle - 1
    return low


def most_money(drawn: int, wrong: int, doubt: Fraction) -> int:
    """Which part of the money may be in wrong receipts, in millionths, rounded up; as `most_wrong`, by units drawn."""
    if wrong >= drawn:
        return PARTS
    low, high = 0, PARTS  # at `high` so few wrong ones are unlikely enough
    while low + 1 < high:
        middle = (low + high) // 2
        if _weight(middle, drawn, wrong) * doubt.denominator > doubt.numerator * PARTS**drawn:
            low = middle
        else:
            high = middle
    return high


def spread(fees: Sequence[int], total: int) -> int:
    """What part of the money so many fees are, in millionths, rounded up."""
    return -(-sum(fees) * PARTS // total) if total else 0


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"openledger.spot_check.v1\0" + b"\0".join(parts)).digest()


def _unit(total: int, seed: bytes, number: int) -> int:
    return int.from_bytes(_hash(b"money", seed, number.to_bytes(8))) * total >> _BITS


def _ways(population: int, bad: int, drawn: int, wrong: int) -> int:
    """In how many ways `drawn` can be chosen of a population with `bad` ones, and at most `wrong` of them be bad."""
    good = population - bad
    first = max(0, drawn - good)
    if first > wrong:
        return 0
    term = found = comb(bad, first) * comb(good, drawn - first)
    for k in range(first, min(wrong, bad, drawn)):
        term = term * (bad - k) * (drawn - k) // ((k + 1) * (good - drawn + k + 1))
        found += term
    return found


def _weight(bad: int, drawn: int, wrong: int) -> int:
    """PARTS**drawn times the probability of at most `wrong` < `drawn` hits, where 0 <= `bad` < PARTS parts are bad."""
    found: int = (PARTS - bad) ** drawn
    term = found
    for k in range(wrong):
        term = term * (drawn - k) * bad // ((k + 1) * (PARTS - bad))
        found += term
    return found
