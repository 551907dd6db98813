"""What is kept of records' texts to know those that read alike, in the database; `store_alike` asks it.

One transaction after the other asks and adds (`hold`), so that of two alike that come in at once one is seen by the
other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, and_, delete, func, insert, select, text, update

from services.datanet.likeness import Text
from services.datanet.model import RecordState
from services.datanet.tables import DECLARATION, ERASURE, KEY, LIKENESS, POSTING, RECORD, SCREENING

FEATURE = np.dtype("<i8")
"""As features lie in a row."""
_ONE_AT_A_TIME = 0x5EA2
_AT_ONCE = 100
_CAME = func.coalesce(DECLARATION.c.create_time, RECORD.c.create_time)
_CONFIRMED = and_(
    DECLARATION.c.contributor == RECORD.c.contributor, DECLARATION.c.request_id == SCREENING.c.confirmation
)
_MISSING = (LIKENESS.c.record.is_(None), RECORD.c.state != RecordState.SCREENED)


@dataclass(frozen=True)
class Missing:
    """A record of which nothing is kept: its id, its wrapped key, when it came in, and its canonical bytes' number."""

    record: str
    wrapped: bytes
    came: int
    size: int


def hold(connection: Connection) -> None:
    """Nobody else looks for likeness, or adds to it, until this transaction ends.  The first of its locks."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyhow
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})"))


def last(connection: Connection) -> int:
    """The number of the last that is there; 0 of none."""
    return int(connection.execute(select(func.max(LIKENESS.c.number))).scalar() or 0)


def moment(connection: Connection, now: int) -> int:
    """When what comes in now came: not before what was added last, whatever clocks say.  Likeness must be held."""
    newest = select(LIKENESS.c.came).order_by(LIKENESS.c.number.desc()).limit(1)
    return max(now, connection.execute(newest).scalar() or 0)


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
                "features": np.array(one.features, FEATURE).tobytes(),
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


def missing(connection: Connection, after: str, limit: int) -> list[Missing]:
    """Records of which nothing is kept yet, by id, with ids after that one.

    Those that wait for their contributor's word have not come in.
    """
    query = (
        select(RECORD.c.id, KEY.c.wrapped, RECORD.c.size, _CAME.label("came"))
        .join(KEY, KEY.c.record == RECORD.c.id)
        .outerjoin(LIKENESS, LIKENESS.c.record == RECORD.c.id)
        .outerjoin(SCREENING, SCREENING.c.record == RECORD.c.id)
        .outerjoin(DECLARATION, _CONFIRMED)
        .where(*_MISSING, RECORD.c.id > after)
        .order_by(RECORD.c.id)
        .limit(limit)
    )
    return [Missing(row.id, row.wrapped, row.came, row.size) for row in connection.execute(query)]


def came(connection: Connection, records: Collection[str]) -> dict[str, tuple[int, int]]:
    """By id, when records came in, those that wait when they were given, and their number in their datanet."""
    query = (
        select(RECORD.c.id, _CAME.label("came"), RECORD.c.number)
        .outerjoin(SCREENING, SCREENING.c.record == RECORD.c.id)
        .outerjoin(DECLARATION, _CONFIRMED)
        .where(RECORD.c.id.in_(records))
    )
    return {row.id: (row.came, row.number) for row in connection.execute(query)}


def still_missing(connection: Connection, records: Collection[str]) -> dict[str, bytes]:
    """The keys, wrapped, of those of these records that are; until the transaction ends none of them is erased."""
    query = (
        select(KEY.c.record, KEY.c.wrapped)
        .join(RECORD, RECORD.c.id == KEY.c.record)
        .outerjoin(LIKENESS, LIKENESS.c.record == KEY.c.record)
        .where(*_MISSING, KEY.c.record.in_(records))
        .order_by(KEY.c.record)
        .with_for_update(of=KEY)
    )
    return {row.record: row.wrapped for row in connection.execute(query)}


def left_behind(connection: Connection) -> list[str]:
    """Erased records of which something is kept: who erased them was of a version that knew nothing of it."""
    query = select(LIKENESS.c.record).join(ERASURE, ERASURE.c.record == LIKENESS.c.record).where(LIKENESS.c.box != b"")
    return list(connection.execute(query).scalars())


def _features(data: bytes) -> list[int]:
    found: list[int] = np.frombuffer(data, FEATURE).tolist()
    return found
