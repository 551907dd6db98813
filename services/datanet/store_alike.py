"""Which records texts that are about to come in read like, in the database: whose came first is told.

To compare with all that is there takes long (`like`), and so may what came meanwhile (`since`, `Meeting`): both are
done while others come in.  What is left is compared while likeness is held (`earlier`), and no more than so much.  Of
a feature that many records have, those that came first are looked at, so that a look-up reads no more than so many.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, bindparam, or_, select, union_all

from services.datanet import sealing, store_likeness
from services.datanet.likeness import Sketch, Text
from services.datanet.model import Visibility, record_name
from services.datanet.store_likeness import FEATURE
from services.datanet.tables import DATANET, KEY, LIKENESS, POSTING, RECORD
from services.datanet.vault import Unopened, Vault

T = TypeVar("T")

KEPT = 16
"""Records of a feature that are compared: those that came first."""
PIECE = 100
"""Records that came meanwhile, read in one transaction."""
MOST_RECORDS, MOST_NUMBERS = 10_000, 20_000_000
"""That are looked through, and that sketches have which are compared, while everybody waits: about a second each.  Of
the longest texts those are 20,000 pairs, of sentences ten times as many."""
_CHUNK = 400


class MuchCame(Exception):
    """More came meanwhile than is compared while everybody waits."""


@dataclass(frozen=True)
class Earlier:
    """A record that came earlier, and is like one that is to come in."""

    datanet: str
    record: str
    contributor: str

    @property
    def name(self) -> str:
        """`datanets/{datanet}/records/{record}`."""
        return record_name(self.datanet, self.record)


@dataclass
class Looked:
    """What texts were found to be like, by record's id, while others might come in: numbers of records.

    last: the number of the last that they are all compared with.
    """

    last: int
    like: dict[str, array[int]]

    def add(self, found: Mapping[str, array[int]]) -> None:
        """What else they are like."""
        for record, numbers in found.items():
            self.like.setdefault(record, array("q")).extend(numbers)


class Meeting:
    """Texts by their features, to be compared with records that share one; of each, with the first `KEPT` that come."""

    def __init__(self, texts: Sequence[Text], most: int | None = None) -> None:
        """most: numbers of the sketches that are compared, in all pairs; without it, all."""
        features = np.fromiter(chain.from_iterable(one.features for one in texts), FEATURE)
        places = np.repeat(np.arange(len(texts)), np.array([len(one.features) for one in texts], np.int64))
        order = np.argsort(features, kind="stable")
        self._texts, self._most, self._compared = texts, most, 0
        self._sizes = np.array([one.size for one in texts], np.int64)
        self._features, self._places = features[order], places[order]
        self._seen = np.zeros(len(features), np.int64)

    def compare(self, vault: Vault, rows: Iterable[Any]) -> dict[str, array[int]]:
        """By text's record's id, the numbers of those that it is like of these `rows_of`.  Raises `MuchCame`."""
        others: dict[int, Sketch] = {}
        met: defaultdict[int, list[int]] = defaultdict(list)
        for row in rows:
            places = self._met(np.frombuffer(row.features, FEATURE))
            for number, other in _opened(vault, [row] if places else []):
                others[number] = other
                self._compared += len(places) * other.size + int(self._sizes[places].sum())
                for place in places:
                    met[place].append(number)
        if self._most is not None and self._compared > self._most:
            raise MuchCame
        found = {}
        for place, numbers in met.items():
            one = self._texts[place]
            own = Sketch.from_bytes(one.sketch)
            if alike := array("q", (number for number in numbers if others[number].is_like(own))):
                found[one.record] = alike
        return found

    def _met(self, features: NDArray[np.int64]) -> list[int]:
        """Places of the texts that have one of these."""
        start = np.searchsorted(self._features, features, "left")
        end = np.searchsorted(self._features, features, "right")
        shared = start < end
        start, end = start[shared], end[shared]
        looked_at = self._seen[start] < KEPT
        self._seen[start] += 1
        ranges = zip(start[looked_at], end[looked_at], strict=True)
        return sorted({place for first, last in ranges for place in self._places[first:last].tolist()})


def like(connection: Connection, vault: Vault, texts: Iterable[Text]) -> dict[str, array[int]]:
    """Of texts that are like any that is there, those, by record's id: nothing needs to be held for that.

    Compared is all that is met in a feature, up to `KEPT` in each, one sketch at a time: some 40 kB in memory.
    """
    found = {}
    for one in texts:
        own = Sketch.from_bytes(one.sketch)
        rows = connection.execute(_first(len(one.features)), _named(one.features)) if one.features else ()
        if numbers := array("q", (number for number, other in _opened(vault, rows) if other.is_like(own))):
            found[one.record] = numbers
    return found


def look(connection: Connection, vault: Vault, texts: Sequence[Text]) -> Looked:
    """What they are like of all that is there, at once."""
    return Looked(store_likeness.last(connection), like(connection, vault, texts))


def since(connection: Connection, after: int) -> list[int]:
    """Numbers of those that were added after that one, in the order in which they came."""
    query = select(LIKENESS.c.number).where(LIKENESS.c.number > after).order_by(LIKENESS.c.came, LIKENESS.c.number)
    return list(connection.execute(query).scalars())


def rows_of(connection: Connection, numbers: Sequence[int]) -> Sequence[Any]:
    """Of those that still have a key, at most `PIECE`, what is compared, in the order in which they came."""
    query = (
        select(LIKENESS.c.number, LIKENESS.c.record, LIKENESS.c.features, LIKENESS.c.box, KEY.c.wrapped)
        .join(KEY, KEY.c.record == LIKENESS.c.record)
        .where(LIKENESS.c.number.in_(numbers))
        .order_by(LIKENESS.c.came, LIKENESS.c.number)
    )
    return connection.execute(query).all()


def pieces(items: Sequence[T], size: int = PIECE) -> list[Sequence[T]]:
    """In order, so many at a time."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def earlier(
    connection: Connection, vault: Vault, contributor: str, datanet: str, texts: Sequence[Text], looked: Looked
) -> dict[str, Earlier]:
    """By record's id, the first that is like it, where that is somebody else's.  Likeness must be held.

    contributor, datanet: who gives the texts, and to which.  What was given to another private datanet, as to that, is
    nothing to others: whoever tried guesses, word by word, would read it there.
    looked: what these texts were found to be like before; they are compared with what came since alone.

    Raises `MuchCame` where that is too much.
    """
    found = _since(connection, vault, texts, looked.last)
    of_each = {one.record: (looked.like.get(one.record, ()), found.get(one.record, ())) for one in texts}
    there = _there(connection, set(chain(*chain(*of_each.values()))), contributor, datanet)
    firsts: dict[str, Earlier] = {}
    for record, numbers in of_each.items():
        first = min((there[number] for number in chain(*numbers) if number in there), default=None)
        if first is not None and first[-1].contributor != contributor:
            firsts[record] = first[-1]
    return firsts


def _since(connection: Connection, vault: Vault, texts: Sequence[Text], after: int) -> dict[str, array[int]]:
    numbers, looked = since(connection, after), Looked(after, {})
    if len(numbers) > MOST_RECORDS:
        raise MuchCame
    if numbers:
        meeting = Meeting(texts, MOST_NUMBERS)
        for some in pieces(numbers):
            looked.add(meeting.compare(vault, rows_of(connection, some)))
    return looked.like


@cache
def _first(features: int) -> Select[Any]:
    """The sketches of the first that have a feature, of so many features `f0`, `f1`, ..."""
    first = (
        select(POSTING.c.number)
        .where(POSTING.c.feature == bindparam(f"f{n}"))
        .order_by(POSTING.c.came, POSTING.c.number)
        .limit(KEPT)
        .subquery()
        for n in range(features)
    )
    met = union_all(*(select(some.c.number) for some in first))
    return (
        select(LIKENESS.c.number, LIKENESS.c.record, LIKENESS.c.box, KEY.c.wrapped)
        .join(KEY, KEY.c.record == LIKENESS.c.record)
        .where(LIKENESS.c.number.in_(met))
    )


def _named(features: Sequence[int]) -> dict[str, int]:
    return {f"f{n}": feature for n, feature in enumerate(features)}


def _opened(vault: Vault, rows: Iterable[Any]) -> Iterator[tuple[int, Sketch]]:
    """Number and sketch of those that still open: one may be being erased."""
    for row in rows:
        try:
            yield row.number, sealing.open_sketch(vault, row.record, row.wrapped, row.box)
        except Unopened:
            continue


def _there(
    connection: Connection, numbers: Collection[int], viewer: str, datanet: str
) -> dict[int, tuple[int, int, Earlier]]:
    """Those of which something is kept, and which are something to an account of that address in that datanet.

    With when they came, and number: in that order.
    """
    query = (
        select(LIKENESS.c.number, LIKENESS.c.came, RECORD.c.id, RECORD.c.datanet, RECORD.c.contributor)
        .join(RECORD, RECORD.c.id == LIKENESS.c.record)
        .join(DATANET, DATANET.c.id == RECORD.c.datanet)
        .where(LIKENESS.c.box != b"")
        .where(
            or_(
                DATANET.c.visibility != Visibility.PRIVATE,
                RECORD.c.number <= DATANET.c.open_until,
                RECORD.c.datanet == datanet,
                RECORD.c.contributor == viewer,
            )
        )
    )
    return {
        row.number: (row.came, row.number, Earlier(row.datanet, row.id, row.contributor))
        for chunk in pieces(sorted(numbers), _CHUNK)
        for row in connection.execute(query.where(LIKENESS.c.number.in_(chunk)))
    }
