"""Snapshots in the database: frozen in one transaction, never changed but for the anchor that comes later."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from services.datanet import freeze, store, store_records
from services.datanet.model import Anchor, Record, RecordState, Snapshot, record_name, snapshot_name
from services.datanet.tables import DATANET, LEAF, RECORD, SNAPSHOT
from services.kit.errors import exhausted, not_found

_LATER = ("anchor", "manifest", "log_root")
_FROZEN = [name for name in Snapshot.__dataclass_fields__ if name not in _LATER]
_ROWS = select(*(SNAPSHOT.c[name] for name in Snapshot.__dataclass_fields__))


def cut(connection: Connection, datanet_id: str, operation_of: Any, now: int) -> Snapshot:
    """Freeze all accepted records as the next version.  `operation_of(version)` names its operation.

    Raises `Fault` when there is nothing in it, or nothing new.
    """
    datanet = store.locked(connection, datanet_id)
    accepted = _accepted(datanet_id)
    rows = connection.execute(select(RECORD.c.id, RECORD.c.commitment).where(*accepted).order_by(RECORD.c.number)).all()
    last = latest(connection, datanet_id)
    root = freeze.new_root(datanet, [row.commitment for row in rows], last)
    version = last.version + 1 if last else 1
    snapshot = Snapshot(
        datanet=datanet_id,
        version=version,
        root=root,
        record_count=len(rows),
        contributor_count=_contributors(connection, datanet_id),
        licence=datanet.definition.licence,
        operation=operation_of(version),
        attempt=0,
        create_time=now,
    )
    frozen = {name: getattr(snapshot, name) for name in _FROZEN}
    connection.execute(insert(SNAPSHOT).values(**frozen, definition=store.dump(datanet.definition)))
    leaves = [
        {"datanet": datanet_id, "version": version, "leaf": leaf, "record": row.id} for leaf, row in enumerate(rows)
    ]
    connection.execute(insert(LEAF), leaves)
    return snapshot


def check_room(connection: Connection, owner: str, since: int, most: int) -> None:
    """Raises `Fault` when that account's datanets have as many snapshots of since then as they may."""
    cut_since = (
        select(SNAPSHOT.c.create_time)
        .join(DATANET, DATANET.c.id == SNAPSHOT.c.datanet)
        .where(DATANET.c.owner == owner, SNAPSHOT.c.create_time > since)
        .order_by(SNAPSHOT.c.create_time.desc())
        .limit(most)
    )
    times = connection.execute(cut_since).scalars().all()
    if len(times) == most:
        raise exhausted(
            "SNAPSHOTS_FULL",
            f"accounts/{owner} has cut {most} snapshots within 24 hours, and each costs a transaction on chain: give "
            "more records before the next one",
            retry_after=(times[-1] - since) / 1e6,
        )


def latest(connection: Connection, datanet: str) -> Snapshot | None:
    """The newest version."""
    found = page(connection, datanet, None, 1)
    return found[0] if found else None


def get(connection: Connection, datanet: str, version: int) -> Snapshot:
    """Raises `Fault` when there is none of that version."""
    query = _ROWS.where(SNAPSHOT.c.datanet == datanet, SNAPSHOT.c.version == version)
    row = connection.execute(query).first()
    if row is None:
        raise not_found("SNAPSHOT_NOT_FOUND", f"there is no {snapshot_name(datanet, version)}")
    return _snapshot(row)


def page(connection: Connection, datanet: str, before: int | None, limit: int) -> list[Snapshot]:
    """Snapshots of a datanet, newest first, before that version."""
    query = _ROWS.where(SNAPSHOT.c.datanet == datanet).order_by(SNAPSHOT.c.version.desc()).limit(limit)
    if before is not None:
        query = query.where(SNAPSHOT.c.version < before)
    return [_snapshot(row) for row in connection.execute(query)]


def leaves(connection: Connection, snapshot: Snapshot, start: int, limit: int) -> list[Record]:
    """Records of a snapshot, without contents, in leaf order from leaf `start`."""
    query = (
        store_records.ROWS.join(LEAF, LEAF.c.record == RECORD.c.id)
        .where(LEAF.c.datanet == snapshot.datanet, LEAF.c.version == snapshot.version, LEAF.c.leaf >= start)
        .order_by(LEAF.c.leaf)
        .limit(limit)
    )
    return [store_records.of_row(row) for row in connection.execute(query)]


def leaf_of(connection: Connection, snapshot: Snapshot, record: str) -> int:
    """Where a record stands in a snapshot.  Raises `Fault` when it does not."""
    query = select(LEAF.c.leaf).where(
        LEAF.c.datanet == snapshot.datanet, LEAF.c.version == snapshot.version, LEAF.c.record == record
    )
    leaf = connection.execute(query).scalar_one_or_none()
    if leaf is None:
        raise not_found(
            "RECORD_NOT_IN_SNAPSHOT",
            f"{record_name(snapshot.datanet, record)} is not in {snapshot.name}: look in a later one",
        )
    return int(leaf)


def commitments(connection: Connection, snapshot: Snapshot) -> list[bytes]:
    """All leaves of a snapshot's tree."""
    query = (
        select(RECORD.c.commitment)
        .join(LEAF, LEAF.c.record == RECORD.c.id)
        .where(LEAF.c.datanet == snapshot.datanet, LEAF.c.version == snapshot.version)
        .order_by(LEAF.c.leaf)
    )
    return [row.commitment for row in connection.execute(query)]


def unanchored(connection: Connection) -> list[Snapshot]:
    """Snapshots whose files are made and whose root is not known to be final on chain, oldest first."""
    query = _ROWS.where(SNAPSHOT.c.anchor.is_(None), SNAPSHOT.c.manifest.is_not(None)).order_by(SNAPSHOT.c.create_time)
    return [_snapshot(row) for row in connection.execute(query)]


def anchor(connection: Connection, snapshot: Snapshot, where: Anchor) -> None:
    """Its root is final on chain."""
    connection.execute(_of(snapshot).values(anchor=json.dumps(asdict(where))))


def refused(connection: Connection, snapshot: Snapshot) -> None:
    """The ledger refused this attempt for good: the next one is another request."""
    connection.execute(_of(snapshot).where(SNAPSHOT.c.attempt == snapshot.attempt).values(attempt=snapshot.attempt + 1))


def _of(snapshot: Snapshot) -> Any:
    return update(SNAPSHOT).where(SNAPSHOT.c.datanet == snapshot.datanet, SNAPSHOT.c.version == snapshot.version)


def _accepted(datanet: str) -> tuple[Any, ...]:
    return RECORD.c.datanet == datanet, RECORD.c.state == RecordState.ACCEPTED


def _contributors(connection: Connection, datanet: str) -> int:
    query = select(func.count(RECORD.c.contributor.distinct())).where(*_accepted(datanet))
    return int(connection.execute(query).scalar_one())


def _snapshot(row: Any) -> Snapshot:
    made = {"manifest": row.manifest or "", "log_root": row.log_root or b""}
    anchor = {"anchor": Anchor(**json.loads(row.anchor)) if row.anchor else None}
    return Snapshot(**(row._asdict() | anchor | made))
