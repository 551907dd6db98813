"""Control totals: what all postings up to a journal sum to, so that none is added twice.  Pure; integers only.

Besides the sums of money they hold two hash totals, as bookkeeping calls sums that mean nothing by themselves: every
book's credits and debits, each times a number that is made of the book's name and a key.  Books that hold what their
postings say have the totals that these postings have, and where one book does not, they differ; several cancel each
other out by a chance of one to 2^128, or by the hand of somebody who knows the key, which is drawn anew with every look
at everything.  What this does not know: which book is wrong (`store.examine`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter

from services.ledger import journal
from services.ledger.journal import UNDOING, Conservation

NOTHING = Conservation(0, 0, 0, 0, 0)
_HELD = 50_000
Line = tuple[int, str | None, str, int]
"""A posting: its journal's number, that journal's kind (None where there is no such journal), its book, its amount."""


@dataclass(frozen=True)
class ControlTotals:
    """Of the postings of all journals up to the number `journals`.  `key`: of the hash totals, hex."""

    key: str
    journals: int = 0
    money: Conservation = NOTHING
    credits: int = 0
    debits: int = 0

    @classmethod
    def of_nothing(cls) -> ControlTotals:
        """Before the first journal, by a new key."""
        return cls(secrets.token_hex(16))

    def dumps(self) -> str:
        """As JSON, whole numbers of any size as text."""
        money = {name: str(value) for name, value in asdict(self.money).items()}
        return json.dumps({"key": self.key, "credits": str(self.credits), "debits": str(self.debits), **money})

    @classmethod
    def loads(cls, journals: int, text: str) -> ControlTotals:
        """What `dumps` wrote.  Raises `ValueError` for what it did not."""
        try:
            found = json.loads(text)
            key, into, out = found.pop("key"), int(found.pop("credits")), int(found.pop("debits"))
            _weight(key, "")  # it is a key
            return cls(key, journals, Conservation(**{name: int(value) for name, value in found.items()}), into, out)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no control totals: {error!r}") from None

    def agree(self, books: Iterable[tuple[str, int, int]]) -> bool:
        """Whether books, as (name, credits, debits), hold what the postings say: all of them, each once."""
        into = out = 0
        for name, credited, debited in books:
            weight = _weight(self.key, name)
            into, out = into + weight * credited, out + weight * debited
        return (into, out) == (self.credits, self.debits)


def add(totals: ControlTotals, lines: Iterable[Line], last: int) -> tuple[ControlTotals, list[int]]:
    """The totals up to the journal `last`, and the numbers of journals that do not balance, or that nobody wrote.

    lines: the postings of all journals after `totals.journals`, in the order of journals.
    """
    odd: list[int] = []
    sums: dict[tuple[str | None, str], tuple[int, int]] = {}
    for number, postings in groupby(lines, itemgetter(0)):
        balance, missing = 0, False
        for _, kind, book, amount in postings:
            balance, missing = balance + amount, missing or kind is None
            plus, minus = sums.get((kind, book), (0, 0))
            sums[kind, book] = (plus + amount, minus) if amount > 0 else (plus, minus - amount)
            if len(sums) >= _HELD:  # a journal may have as many postings as an epoch has payees
                totals, sums = _with(totals, sums), {}
        if balance or missing or number > last:
            odd.append(number)
    return replace(_with(totals, sums), journals=last), odd


def _with(totals: ControlTotals, sums: dict[tuple[str | None, str], tuple[int, int]]) -> ControlTotals:
    into = out = 0
    for (kind, book), (plus, minus) in sums.items():
        weight = _weight(totals.key, book)
        # What undoes takes from the side to which the other one had added.
        credited, debited = (-minus, -plus) if kind in UNDOING else (plus, minus)
        into, out = into + weight * credited, out + weight * debited
    money = totals.money + journal.conservation(_net(sums))
    return replace(totals, money=money, credits=totals.credits + into, debits=totals.debits + out)


def _net(sums: dict[tuple[str | None, str], tuple[int, int]]) -> Iterator[tuple[str, str, int]]:
    return ((kind or "", book, plus - minus) for (kind, book), (plus, minus) in sums.items())


def _weight(key: str, book: str) -> int:
    return int.from_bytes(blake2b(book.encode(), key=key.encode(), digest_size=16).digest(), "big")
