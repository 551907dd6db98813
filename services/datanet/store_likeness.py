"""Which records read alike, in the database: whose came first is told of what is about to come in.

One transaction after the other asks and adds (`hold`), so that of two alike that come in at once one is seen by the
other; what takes long, to compare with all that came before, is done before that (`look`).  Of a feature that many
records have, the first ones are kept, so that a look-up reads no more than so many, whatever there is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, text

from services.datanet import sealing
from services.datanet.likeness import Sketch, Text
from services.datanet.model import Record, RecordState, Visibility, record_name
from services.datanet.tables import DATANET, KEY, LIKENESS, POSTING, RECORD
from services.datanet.vault import Unopened, Vault

KEPT = 16
"""Records of a feature."""
COMPARED = 16
"""Records that one is compared with: those with which it shares most features, the earliest first."""
_ONE_AT_A_TIME = 0x5EA2
_AT_ONCE = 100
_COMPARED_AT_ONCE = 25
"""Texts, of which each is compared with so many sketches of some 40 kB in memory."""
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


@dataclass(frozen=True)
class Looked:
    """What texts were found to be like, by record's id and number, while others might come in.

    last: number and record of the last that had come when this was begun; `None` of none.
    """

    last: tuple[int, str] | None
    like: Mapping[str, Mapping[int, Earlier]]


def hold(connection: Connection) -> None:
    """Nobody else looks for likeness, or adds to it, until this transaction ends.  The first of its locks."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyhow
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})"))


def look(connection: Connection, vault: Vault, texts: Sequence[Text], so_far: Looked | None = None) -> Looked:
    """Compare texts with all that came so far, which nothing needs to be held for.  so_far: of other texts."""
    last = _last(connection) if so_far is None else so_far.last
    return Looked(last, {**(so_far.like if so_far else {}), **_like(connection, vault, texts, 0)})


def earlier(
    connection: Connection,
    vault: Vault,
    contributor: str,
    datanet: str,
    texts: Sequence[Text],
    looked: Looked | None = None,
) -> dict[str, Earlier]:
    """By record's id, the first that is like it, where that is somebody else's.  Likeness must be held.

    contributor, datanet: who gives the texts, and to which.  What waits for its contributor's word is nothing to
    others: who never says it would keep theirs out for ever.  Nor is what lies in another private datanet: whoever
    tried guesses, word by word, would read it there.
    looked: what these texts were found to be like before; they are compared with what came since alone.
    """
    # A number whose record was erased may be another's by now.
    if looked is None or (looked.last is not None and not _stands(connection, looked.last)):
        looked = Looked(None, {})
    new = _like(connection, vault, texts, looked.last[0] if looked.last else 0)
    met = {other.record for like in (looked.like, new) for of_one in like.values() for other in of_one.values()}
    there = _there(connection, met, contributor, datanet)
    found: dict[str, Earlier] = {}
    for one in texts:
        both = {**looked.like.get(one.record, {}), **new[one.record]}
        like = {number: other for number, other in both.items() if other.record in there}
        if like and like[min(like)].contributor != contributor:
            found[one.record] = like[min(like)]
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


def _last(connection: Connection) -> tuple[int, str] | None:
    row = connection.execute(select(LIKENESS).order_by(LIKENESS.c.number.desc()).limit(1)).first()
    return None if row is None else (row.number, row.record)


def _stands(connection: Connection, last: tuple[int, str]) -> bool:
    query = select(LIKENESS.c.record).where(LIKENESS.c.number == last[0])
    return bool(connection.execute(query).scalar() == last[1])


def _there(connection: Connection, records: Collection[str], viewer: str, datanet: str) -> set[str]:
    """Those of which something is kept, and which are something to an account of that address in that datanet."""
    told = and_(
        RECORD.c.state != RecordState.SCREENED,
        or_(DATANET.c.visibility != Visibility.PRIVATE, RECORD.c.datanet == datanet),
    )
    query = (
        select(LIKENESS.c.record)
        .join(RECORD, RECORD.c.id == LIKENESS.c.record)
        .join(DATANET, DATANET.c.id == RECORD.c.datanet)
        .where(or_(told, RECORD.c.contributor == viewer))
    )
    found: set[str] = set()
    for chunk in _chunks(records):
        found.update(connection.execute(query.where(LIKENESS.c.record.in_(chunk))).scalars())
    return found


def _like(connection: Connection, vault: Vault, texts: Sequence[Text], after: int) -> dict[str, dict[int, Earlier]]:
    """Of each text, those that it is like, of the records that came after a number."""
    found: dict[str, dict[int, Earlier]] = {}
    for start in range(0, len(texts), _COMPARED_AT_ONCE):
        some = texts[start : start + _COMPARED_AT_ONCE]
        met = _met(connection, some, after)
        known = _known(connection, vault, {number for numbers in met for number in numbers})
        for one, numbers in zip(some, met, strict=True):
            own = Sketch.from_bytes(one.sketch)
            found[one.record] = {n: known[n][0] for n in numbers if n in known and known[n][1].is_like(own)}
    return found


def _met(connection: Connection, texts: Sequence[Text], after: int) -> list[list[int]]:
    """Of each text, the numbers after that one of the records that it is to be compared with."""
    having: defaultdict[int, list[int]] = defaultdict(list)
    for chunk in _chunks({feature for one in texts for feature in one.features}):
        query = select(POSTING).where(POSTING.c.feature.in_(chunk), POSTING.c.number > after)
        for row in connection.execute(query):
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
