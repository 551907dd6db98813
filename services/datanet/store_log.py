"""Datanets' logs of snapshots in the database: an entry a snapshot, appended once its files are made and then fixed."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, func, select, update

from openledger.snapshots.documents import Manifest, log_root
from services.datanet import store, store_snapshots
from services.datanet.model import Definition, Snapshot, Visibility
from services.datanet.tables import SNAPSHOT


def unpublished(connection: Connection) -> list[Snapshot]:
    """Snapshots whose files are not made yet, each datanet's in order."""
    where = SNAPSHOT.c.manifest.is_(None)
    keys = select(SNAPSHOT.c.datanet, SNAPSHOT.c.version).where(where).order_by(SNAPSHOT.c.datanet, SNAPSHOT.c.version)
    return [store_snapshots.get(connection, *row) for row in connection.execute(keys).all()]


def said(connection: Connection, snapshot: Snapshot) -> tuple[Definition, str]:
    """What the datanet's owner said when the snapshot was frozen, and the owner's address."""
    datanet = store.get(connection, snapshot.datanet)
    kept = connection.execute(select(SNAPSHOT.c.definition).where(*_this(snapshot))).scalar_one()
    return store.load(kept) if kept else datanet.definition, datanet.owner


def is_private(connection: Connection, snapshot: Snapshot) -> bool:
    """Whether its files are its owner's: its datanet was private when it was frozen, or is now."""
    now = store.get(connection, snapshot.datanet).definition
    return Visibility.PRIVATE in (now.visibility, said(connection, snapshot)[0].visibility)


def append(connection: Connection, snapshot: Snapshot, manifest: Manifest) -> Snapshot:
    """The snapshot in its datanet's log, its files being made; the one who comes first says how.

    Raises `ValueError` where one before is not there yet.
    """
    store.locked(connection, snapshot.datanet)
    before, present = entries(connection, snapshot.datanet, snapshot.version - 1), _get(connection, snapshot)
    if present.manifest:
        return present
    if len(before) != snapshot.version - 1:
        raise ValueError(f"{snapshot.parent} is not in the log yet")
    entry = manifest.entry().to_bytes()
    made = replace(present, manifest=manifest.digest(), log_root=log_root([*before, entry]))
    values = {"manifest": made.manifest, "entry": entry, "log_root": made.log_root}
    connection.execute(update(SNAPSHOT).where(*_this(snapshot)).values(values))
    return made


def entries(connection: Connection, datanet: str, size: int) -> list[bytes]:
    """The first so many entries of a log, in order; fewer if it has no more."""
    query = select(SNAPSHOT.c.entry).where(SNAPSHOT.c.datanet == datanet, SNAPSHOT.c.entry.is_not(None))
    return list(connection.execute(query.order_by(SNAPSHOT.c.version).limit(size)).scalars())


def size(connection: Connection, datanet: str) -> int:
    """Of a datanet's log."""
    query = select(func.count()).where(SNAPSHOT.c.datanet == datanet, SNAPSHOT.c.entry.is_not(None))
    return int(connection.execute(query).scalar_one())


def _get(connection: Connection, snapshot: Snapshot) -> Snapshot:
    return store_snapshots.get(connection, snapshot.datanet, snapshot.version)


def _this(snapshot: Snapshot) -> tuple[ColumnElement[bool], ...]:
    return SNAPSHOT.c.datanet == snapshot.datanet, SNAPSHOT.c.version == snapshot.version
