"""Snapshots that were read, in the database: where their verified records are kept, and which records they hold.

Also which records are erased, whatever snapshot they are in.  The records themselves are not here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, or_, select, update

from services.factory.rows import insert_new
from services.factory.run import SnapshotPin
from services.factory.tables import ERASED, FINE_TUNE, LEFT_OUT, SNAPSHOT, SNAPSHOT_RECORD

_ROWS = 5_000


def find_snapshot(c: Connection, pin: SnapshotPin) -> str | None:
    """The digest of a snapshot's verified records in the Factory's own store, if they were read before."""
    query = select(SNAPSHOT.c.records).where(SNAPSHOT.c.name == pin.name, SNAPSHOT.c.root == pin.root)
    return c.execute(query).scalar_one_or_none()


def put_snapshot(c: Connection, pin: SnapshotPin, digest: str, records: Sequence[str]) -> None:
    """Keep where a snapshot's verified records are (one line each, `services.factory.lines`), and their names."""
    if not insert_new(c, insert(SNAPSHOT).values(name=pin.name, root=pin.root, records=digest)):
        this = (SNAPSHOT.c.name == pin.name, SNAPSHOT.c.root == pin.root)
        c.execute(update(SNAPSHOT).where(*this).values(records=digest))
        return
    of_this = (SNAPSHOT_RECORD.c.snapshot == pin.name, SNAPSHOT_RECORD.c.root == pin.root)
    if c.execute(select(SNAPSHOT_RECORD.c.record).where(*of_this).limit(1)).first() is not None:
        return  # read before, and forgotten meanwhile
    for start in range(0, len(records), _ROWS):
        rows = [{"record": r, "snapshot": pin.name, "root": pin.root} for r in records[start : start + _ROWS]]
        c.execute(insert(SNAPSHOT_RECORD), rows)


def snapshots_with(c: Connection, record: str) -> frozenset[SnapshotPin]:
    """The snapshots that were read and hold this record."""
    query = select(SNAPSHOT_RECORD.c.snapshot, SNAPSHOT_RECORD.c.root).where(SNAPSHOT_RECORD.c.record == record)
    return frozenset(SnapshotPin(row.snapshot, row.root) for row in c.execute(query))


def forget_snapshots(c: Connection, pins: Iterable[SnapshotPin]) -> None:
    """Their records are not kept any more; their names stay, by which adapters made from them are found."""
    for pin in pins:
        c.execute(delete(SNAPSHOT).where(SNAPSHOT.c.name == pin.name, SNAPSHOT.c.root == pin.root))


def files(c: Connection) -> set[str]:
    """Digests of the files in which snapshots' records are kept."""
    return set(c.execute(select(SNAPSHOT.c.records)).scalars())


def forget_files(c: Connection, digests: Iterable[str]) -> None:
    """These files are kept no more, see `forget_snapshots`."""
    for digest in digests:
        c.execute(delete(SNAPSHOT).where(SNAPSHOT.c.records == digest))


def add_erased(c: Connection, record: str, reason: str) -> None:
    """A record is erased."""
    insert_new(c, insert(ERASED).values(record=record, reason=reason, time=datetime.now(UTC)))


def leave_out(c: Connection, fine_tune: str, pins: Sequence[SnapshotPin], taken: Collection[str]) -> None:
    """A fine-tune takes only these records of its snapshots, which were read before: others may be erased."""
    of_these = or_(*(and_(SNAPSHOT_RECORD.c.snapshot == p.name, SNAPSHOT_RECORD.c.root == p.root) for p in pins))
    found = set(c.execute(select(SNAPSHOT_RECORD.c.record).where(of_these).distinct()).scalars())
    rows = [{"fine_tune": fine_tune, "record": record} for record in sorted(found - set(taken))]
    for start in range(0, len(rows), _ROWS):
        c.execute(insert(LEFT_OUT), rows[start : start + _ROWS])


def took(record: str) -> ColumnElement[bool]:
    """Of a row of fine-tunes on a snapshot with this record: whether it takes it."""
    return ~exists().where(LEFT_OUT.c.fine_tune == FINE_TUNE.c.id, LEFT_OUT.c.record == record)


def takes(c: Connection, fine_tune: str, record: str) -> bool:
    """The same of one fine-tune."""
    where = (LEFT_OUT.c.fine_tune == fine_tune, LEFT_OUT.c.record == record)
    return c.execute(select(LEFT_OUT.c.record).where(*where)).first() is None


def count_erased(c: Connection, pins: Sequence[SnapshotPin]) -> int:
    """Records of these snapshots that are erased."""
    of_these = or_(*(and_(SNAPSHOT_RECORD.c.snapshot == p.name, SNAPSHOT_RECORD.c.root == p.root) for p in pins))
    joined = SNAPSHOT_RECORD.join(ERASED, ERASED.c.record == SNAPSHOT_RECORD.c.record)
    query = select(func.count(ERASED.c.record.distinct())).select_from(joined).where(of_these)
    return int(c.execute(query).scalar_one())


def erased_among(c: Connection, pins: Sequence[SnapshotPin], fine_tune: str = "") -> str | None:
    """A record of these snapshots that is erased, if there is one; for a fine-tune, one that it takes."""
    return next(iter(all_erased_among(c, pins, fine_tune)), None)


def all_erased_among(c: Connection, pins: Sequence[SnapshotPin], fine_tune: str = "") -> list[str]:
    """Those records, in order."""
    of_these = or_(*(and_(SNAPSHOT_RECORD.c.snapshot == p.name, SNAPSHOT_RECORD.c.root == p.root) for p in pins))
    joined = SNAPSHOT_RECORD.join(ERASED, ERASED.c.record == SNAPSHOT_RECORD.c.record)
    left = exists().where(LEFT_OUT.c.fine_tune == fine_tune, LEFT_OUT.c.record == ERASED.c.record)
    query = select(ERASED.c.record).select_from(joined).where(of_these, ~left).distinct().order_by(ERASED.c.record)
    return list(c.execute(query).scalars())
