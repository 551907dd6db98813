"""Snapshots that were read, in the database: where their verified records are kept, and which records they hold.

Also which records are erased, whatever snapshot they are in.  The records themselves are not here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from services.factory.rows import insert_new
from services.factory.run import SnapshotPin
from services.factory.tables import ERASED, SNAPSHOT, SNAPSHOT_RECORD

_ROWS = 5_000


@dataclass(frozen=True)
class Kept:
    """A snapshot that was read and found to be what was frozen."""

    digest: str
    """Of its records, one line each (`services.factory.lines`), in the Factory's own store."""
    licences: Mapping[str, int]
    """Records by licence; "" is the snapshot's own."""


def find_snapshot(c: Connection, pin: SnapshotPin) -> Kept | None:
    """Where a snapshot's verified records are, if they were read before."""
    query = select(SNAPSHOT).where(SNAPSHOT.c.name == pin.name, SNAPSHOT.c.root == pin.root)
    row = c.execute(query).first()
    return None if row is None else Kept(row.records, json.loads(row.licences))


def put_snapshot(c: Connection, pin: SnapshotPin, kept: Kept, records: Sequence[str]) -> None:
    """Keep where a snapshot's verified records are, and their names."""
    values = {"records": kept.digest, "licences": json.dumps(dict(kept.licences))}
    if not insert_new(c, insert(SNAPSHOT).values(name=pin.name, root=pin.root, **values)):
        c.execute(update(SNAPSHOT).where(SNAPSHOT.c.name == pin.name, SNAPSHOT.c.root == pin.root).values(**values))
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


def add_erased(c: Connection, record: str, reason: str) -> None:
    """A record is erased."""
    insert_new(c, insert(ERASED).values(record=record, reason=reason, time=datetime.now(UTC)))


def erased_among(c: Connection, pins: Sequence[SnapshotPin]) -> str | None:
    """A record of these snapshots that is erased, if there is one."""
    of_these = or_(*(and_(SNAPSHOT_RECORD.c.snapshot == p.name, SNAPSHOT_RECORD.c.root == p.root) for p in pins))
    joined = SNAPSHOT_RECORD.join(ERASED, ERASED.c.record == SNAPSHOT_RECORD.c.record)
    query = select(ERASED.c.record).select_from(joined).where(of_these).order_by(ERASED.c.record).limit(1)
    return c.execute(query).scalar_one_or_none()
