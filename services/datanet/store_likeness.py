"""Which records read alike, in the database: whose came first is told of what is about to come in.

One transaction after the other asks and adds (`hold`), so that of two alike that come in at once one is seen by the
other; what takes long, to compare with all that came before, is done before that (`look`).  Of a feature that many
records have, those that came first are looked at, so that a look-up reads no more than so many, whatever there is.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import Connection, Select, and_, bindparam, delete, func, insert, or_, select, text, union_all, update

from services.datanet import sealing
from services.datanet.likeness import Sketch, Text
from services.datanet.model import RecordState, Visibility, record_name
from services.datanet.tables import DATANET, DECLARATION, ERASURE, KEY, LIKENESS, POSTING, RECORD, SCREENING
from services.datanet.vault import Unopened, Vault

KEPT = 16
"""Records of a feature that are compared: those that came first."""
_ONE_AT_A_TIME = 0x5EA2
_AT_ONCE, _CHUNK = 100, 400
_FEATURE = np.dtype("<i8")
_MISSING = (LIKENESS.c.record.is_(None), RECORD.c.state != RecordState.SCREENED)


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


@dataclass(frozen=True)
class Looked:
    """What texts were found to be like, by record's id, while others might come in: numbers of records.

    last: the number of the last that was there when this was begun.
    """

    last: int
    like: dict[str, array[int]]


def hold(connection: Connection) -> None:
    """Nobody else looks for likeness, or adds to it, until this transaction ends.  The first of its locks."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyhow
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})"))


def last(connection: Connection) -> int:
    """The number of the last that is there; 0 of none."""
    return int(connection.execute(select(func.max(LIKENESS.c.number))).scalar() or 0)


def like(connection: Connection, vault: Vault, texts: Iterable[Text]) -> dict[str, array[int]]:
    """Of texts that are like any that is there, those, by record's id: nothing needs to be held for that.

    Compared is all that is met in a feature, up to `KEPT` in each, one sketch at a time: some 40 kB in memory.
    """
    found = {}
    for one in texts:
        own = Sketch.from_bytes(one.sketch)
        rows = connection.execute(_met(len(one.features)), _named(one.features)) if one.features else ()
        if numbers := array("q", (number for number, other in _opened(vault, rows) if other.is_like(own))):
            found[one.record] = numbers
    return found


def earlier(
    connection: Connection,
    vault: Vault,
    contributor: str,
    datanet: str,
    texts: Sequence[Text],
    looked: Looked | None = None,
) -> dict[str, Earlier]:
    """By record's id, the first that is like it, where that is somebody else's.  Likeness must be held.

    contributor, datanet: who gives the texts, and to which.  What lies in another private datanet is nothing to others:
    whoever tried guesses, word by word, would read it there.
    looked: what these texts were found to be like before; they are compared with what came since alone.
    """
    looked = looked or Looked(last(connection), like(connection, vault, texts))
    since = _since(connection, vault, texts, looked.last)
    of_each = {one.record: {*looked.like.get(one.record, ()), *since[one.record]} for one in texts}
    there = _there(connection, {number for numbers in of_each.values() for number in numbers}, contributor, datanet)
    found: dict[str, Earlier] = {}
    for record, numbers in of_each.items():
        first = min((there[number] for number in numbers if number in there), default=None)
        if first is not None and first[-1].contributor != contributor:
            found[record] = first[-1]
    return found


def add(connection: Connection, texts: Sequence[tuple[int, Text]]) -> None:
    """They came in, each at its time in microseconds.  Likeness must be held."""
    numbered = list(enumerate(texts, last(connection) + 1))
    for start in range(0, len(numbered), _AT_ONCE):
        some = numbered[start : start + _AT_ONCE]
        rows = [
            {
                "number": number,
                "record": one.record,
                "came": came,
                "features": np.array(one.features, _FEATURE).tobytes(),
                "box": one.box,
            }
            for number, (came, one) in some
        ]
        connection.execute(insert(LIKENESS), rows)
        postings = [
            {"feature": feature, "came": came, "number": number}
            for number, (came, one) in some
            for feature in one.features
        ]
        if postings:
            connection.execute(insert(POSTING), postings)


def forget(connection: Connection, record: str) -> None:
    """Nothing is kept of what it is like but that its row was there: its number must not become another's."""
    row = connection.execute(select(LIKENESS).where(LIKENESS.c.record == record)).first()
    if row is None:
        return
    its_own = POSTING.c.feature.in_(_features(row.features))
    connection.execute(delete(POSTING).where(its_own, POSTING.c.came == row.came, POSTING.c.number == row.number))
    connection.execute(update(LIKENESS).where(LIKENESS.c.number == row.number).values(features=b"", box=b""))


def count_missing(connection: Connection) -> int:
    """How many records there are of which nothing is kept, of those that can be kept of."""
    query = select(func.count()).select_from(RECORD).join(KEY, KEY.c.record == RECORD.c.id)
    query = query.outerjoin(LIKENESS, LIKENESS.c.record == RECORD.c.id).where(*_MISSING)
    return int(connection.execute(query).scalar_one())


def missing(connection: Connection, after: str, limit: int) -> list[tuple[str, bytes, int]]:
    """Records of which nothing is kept yet, by id, with ids after that one: id, wrapped key, and when each came in.

    Those that wait for their contributor's word have not come in.  Until the transaction ends none of them is erased.
    """
    confirmed = and_(
        DECLARATION.c.contributor == RECORD.c.contributor, DECLARATION.c.request_id == SCREENING.c.confirmation
    )
    query = (
        select(RECORD.c.id, KEY.c.wrapped, func.coalesce(DECLARATION.c.create_time, RECORD.c.create_time).label("came"))
        .join(KEY, KEY.c.record == RECORD.c.id)
        .outerjoin(LIKENESS, LIKENESS.c.record == RECORD.c.id)
        .outerjoin(SCREENING, SCREENING.c.record == RECORD.c.id)
        .outerjoin(DECLARATION, confirmed)
        .where(*_MISSING, RECORD.c.id > after)
        .order_by(RECORD.c.id)
        .limit(limit)
        .with_for_update(of=KEY)
    )
    return [(row.id, row.wrapped, row.came) for row in connection.execute(query)]


def left_behind(connection: Connection) -> list[str]:
    """Erased records of which something is kept: who erased them was of a version that knew nothing of it."""
    query = select(LIKENESS.c.record).join(ERASURE, ERASURE.c.record == LIKENESS.c.record).where(LIKENESS.c.box != b"")
    return list(connection.execute(query).scalars())


@cache
def _met(features: int) -> Select[Any]:
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


def _since(connection: Connection, vault: Vault, texts: Sequence[Text], after: int) -> dict[str, list[int]]:
    """Of each text, those that it is like of what came after that number, which is little: it is looked through."""
    found: dict[str, list[int]] = {one.record: [] for one in texts}
    if last(connection) == after:
        return found
    having: defaultdict[int, list[Text]] = defaultdict(list)
    for one in texts:
        for feature in one.features:
            having[feature].append(one)
    query = (
        select(LIKENESS.c.number, LIKENESS.c.record, LIKENESS.c.features, LIKENESS.c.box, KEY.c.wrapped)
        .join(KEY, KEY.c.record == LIKENESS.c.record)
        .where(LIKENESS.c.number > after)
        .order_by(LIKENESS.c.came, LIKENESS.c.number)
    )
    seen: Counter[int] = Counter()
    for row in connection.execute(query):
        features = [f for f in _features(row.features) if f in having and seen[f] < KEPT]
        seen.update(features)
        met = {one.record: one for feature in features for one in having[feature]}
        for number, other in _opened(vault, [row] if met else []):
            for record, one in met.items():
                if other.is_like(Sketch.from_bytes(one.sketch)):
                    found[record].append(number)
    return found


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
                RECORD.c.datanet == datanet,
                RECORD.c.contributor == viewer,
            )
        )
    )
    return {
        row.number: (row.came, row.number, Earlier(row.datanet, row.id, row.contributor))
        for chunk in _chunks(numbers)
        for row in connection.execute(query.where(LIKENESS.c.number.in_(chunk)))
    }


def _features(data: bytes) -> list[int]:
    found: list[int] = np.frombuffer(data, _FEATURE).tolist()
    return found


def _chunks(items: Iterable[int]) -> list[Sequence[int]]:
    """In order, in pieces that fit into one statement's parameters."""
    ordered = sorted(items)
    return [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]
