"""Which records read alike, in the database: whose came first is told of what is about to come in.

One transaction after the other asks and adds (`hold`), so that of two alike that come in at once one is seen by the
other.  Of a feature that many records have, the first ones are kept: whoever adds many like an earlier one hides
nothing, and a look-up reads no more than so many, whatever there is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text

from services.datanet import sealing
from services.datanet.likeness import Sketch, Text
from services.datanet.model import Record, record_name
from services.datanet.tables import KEY, LIKENESS, POSTING, RECORD
from services.datanet.vault import Unopened, Vault

KEPT = 16
"""Records of a feature."""
COMPARED = 16
"""Records that one is compared with: those with which it shares most features, the earliest first."""
_ONE_AT_A_TIME = 0x5EA2
_AT_ONCE = 100
_CHUNK = 400


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


def hold(connection: Connection) -> None:
    """Nobody else looks for likeness, or adds to it, until this transaction ends.  The first of its locks."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyhow
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})"))


def earlier(connection: Connection, vault: Vault, contributor: str, texts: Sequence[Text]) -> dict[str, Earlier]:
    """By record's id, the first that is like it, where that is somebody else's.  Likeness must be held."""
    found: dict[str, Earlier] = {}
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        met = {one.record: numbers for one, numbers in zip(some, _met(connection, some), strict=True)}
        known = _known(connection, vault, {number for numbers in met.values() for number in numbers})
        for one in some:
            own = Sketch.from_bytes(one.sketch)
            like = [n for n in met[one.record] if n in known and known[n][1].is_like(own)]
            if like and known[min(like)][0].contributor != contributor:
                found[one.record] = known[min(like)][0]
    return found


def missing(connection: Connection, limit: int, but: Collection[str] = ()) -> list[tuple[str, bytes]]:
    """Ids and wrapped keys of records that nothing is kept of yet, in the order in which they came, but for those."""
    query = (
        select(RECORD.c.id, KEY.c.wrapped)
        .join(KEY, KEY.c.record == RECORD.c.id)
        .outerjoin(LIKENESS, LIKENESS.c.record == RECORD.c.id)
        .where(LIKENESS.c.record.is_(None), RECORD.c.id.not_in(but))
        .order_by(RECORD.c.create_time, RECORD.c.datanet, RECORD.c.number)
        .limit(limit)
    )
    return [(row.id, row.wrapped) for row in connection.execute(query)]


def add(connection: Connection, texts: Sequence[Text]) -> None:
    """They came in, in this order.  Likeness must be held."""
    last = connection.execute(select(func.max(LIKENESS.c.number))).scalar() or 0
    for start in range(0, len(texts), _AT_ONCE):
        some = list(enumerate(texts[start : start + _AT_ONCE], last + start + 1))
        rows = [{"number": number, "record": one.record, "box": one.box} for number, one in some]
        connection.execute(insert(LIKENESS), rows)
        count = Counter(_counts(connection, {feature for _, one in some for feature in one.features}))
        postings = []
        for number, one in some:
            for feature in one.features:
                count[feature] += 1
                if count[feature] <= KEPT:
                    postings.append({"feature": feature, "number": number})
        if postings:
            connection.execute(insert(POSTING), postings)


def forget(connection: Connection, vault: Vault, record: Record) -> None:
    """Nothing is kept of what it is like.  Its key must still be there."""
    number = connection.execute(select(LIKENESS.c.number).where(LIKENESS.c.record == record.id)).scalar()
    if number is None:
        return
    for _, found in _known(connection, vault, {number}).values():
        features = sealing.feature_tokens(vault, found)
        connection.execute(delete(POSTING).where(POSTING.c.number == number, POSTING.c.feature.in_(features)))
    connection.execute(delete(LIKENESS).where(LIKENESS.c.number == number))


def _met(connection: Connection, texts: Sequence[Text]) -> list[list[int]]:
    """Of each text, the numbers of the records that it is to be compared with."""
    having: defaultdict[int, list[int]] = defaultdict(list)
    for chunk in _chunks({feature for one in texts for feature in one.features}):
        for row in connection.execute(select(POSTING).where(POSTING.c.feature.in_(chunk))):
            having[row.feature].append(row.number)
    met = []
    for one in texts:
        shared = Counter(number for feature in one.features for number in having.get(feature, ()))
        met.append(sorted(shared, key=lambda number, shared=shared: (-shared[number], number))[:COMPARED])  # type: ignore[misc]
    return met


def _known(connection: Connection, vault: Vault, numbers: Collection[int]) -> dict[int, tuple[Earlier, Sketch]]:
    """Those that are still there: one may be being erased."""
    query = (
        select(LIKENESS.c.number, LIKENESS.c.box, RECORD.c.id, RECORD.c.datanet, RECORD.c.contributor, KEY.c.wrapped)
        .join(RECORD, RECORD.c.id == LIKENESS.c.record)
        .join(KEY, KEY.c.record == LIKENESS.c.record)
    )
    found: dict[int, tuple[Earlier, Sketch]] = {}
    for chunk in _chunks(numbers):
        for row in connection.execute(query.where(LIKENESS.c.number.in_(chunk))):
            try:
                sketch = sealing.open_sketch(vault, row.id, row.wrapped, row.box)
            except Unopened:
                continue
            found[row.number] = Earlier(row.datanet, row.id, row.contributor), sketch
    return found


def _counts(connection: Connection, features: Iterable[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    query = select(POSTING.c.feature, func.count().label("records")).group_by(POSTING.c.feature)
    for chunk in _chunks(features):
        rows = connection.execute(query.where(POSTING.c.feature.in_(chunk)))
        counts.update((row.feature, row.records) for row in rows)
    return counts


def _chunks(items: Iterable[Any]) -> list[Sequence[Any]]:
    """In order, in pieces that fit into one statement's parameters."""
    ordered = sorted(items)
    return [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]
