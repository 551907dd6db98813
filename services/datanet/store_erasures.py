"""Erasures in the database: what goes with a record at once, in one transaction, and how far the rest is."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, or_, select, update

from openledger import names, records
from services.datanet import sealing, store_records, store_screenings
from services.datanet.model import Record, RecordState, record_name, snapshot_name
from services.datanet.tables import CONTENT, DECLARATION, ERASURE, FIRST, KEY, LEAF, METADATA, RECORD, SNAPSHOT
from services.datanet.vault import Vault, place

_IDEMPOTENCY = METADATA.tables["idempotency"]
_UPLOADS = "ContributeRecords"


@dataclass(frozen=True)
class Erasure:
    """How far an erasure is.

    `share`: where that of the record's key is, empty where it has none.  `snapshots`: names of those that told of its
    likeness.  `destroyed`: whether the share is overwritten, and all that goes with it is done.
    """

    record: str
    datanet: str
    operation: str
    reason: str
    share: bytes
    snapshots: tuple[str, ...]
    destroyed: bool = False

    @property
    def name(self) -> str:
        """Of the record."""
        return record_name(self.datanet, self.record)


def begin(connection: Connection, vault: Vault, record: Record, operation: str, reason: str, now: int) -> Record:
    """Destroy all that the database has of a record but its place in trees.  Its datanet must be locked.

    Gone are its content, key and length, what checks found in it, the token by which its text is found again, and what
    its upload, and its contributor's later word on it, left that follows from its text: the declaration's root and
    signature, and the answer that was kept for the same request.
    """
    content = store_records.contents(connection, vault, [record.id]).get(record.id)
    if content is not None:
        token = sealing.fingerprint_token(vault, records.fingerprint(content.fields))
        connection.execute(delete(FIRST).where(FIRST.c.fingerprint == token, FIRST.c.record == record.name))
    wrapped = connection.execute(select(KEY.c.wrapped).where(KEY.c.record == record.id)).scalar()
    row = {
        "record": record.id,
        "operation": operation,
        "reason": reason,
        "share": place(wrapped) if wrapped else b"",
        "snapshots": json.dumps(_unlike(connection, record)),
        "create_time": now,
    }
    connection.execute(insert(ERASURE).values(row))
    store_screenings.forget(connection, record)
    for table in (CONTENT, KEY):
        connection.execute(delete(table).where(table.c.record == record.id))
    _forget_upload(connection, record)
    connection.execute(update(RECORD).where(RECORD.c.id == record.id).values(size=0))
    return store_records.move(connection, record, RecordState.ERASED, "", now)


def pending(connection: Connection) -> list[Erasure]:
    """Erasures that are not at their end, oldest first."""
    query = (
        select(ERASURE, RECORD.c.datanet)
        .join(RECORD, RECORD.c.id == ERASURE.c.record)
        .where(ERASURE.c.revisions.is_(None))
        .order_by(ERASURE.c.create_time, ERASURE.c.record)
    )
    return [
        Erasure(
            record=row.record,
            datanet=row.datanet,
            operation=row.operation,
            reason=row.reason,
            share=row.share or b"",
            snapshots=tuple(json.loads(row.snapshots)),
            destroyed=row.share is None,
        )
        for row in connection.execute(query)
    ]


def manifests(connection: Connection, erasure: Erasure) -> list[str]:
    """SHA-256 of the manifests of the snapshots in which the record read like another one, as far as they are made."""
    versions = [int(names.match("datanets/*/snapshots/*", name)[1]) for name in erasure.snapshots]
    query = select(SNAPSHOT.c.manifest).where(
        SNAPSHOT.c.datanet == erasure.datanet, SNAPSHOT.c.version.in_(versions), SNAPSHOT.c.manifest.is_not(None)
    )
    return list(connection.execute(query).scalars())


def destroyed(connection: Connection, record: str) -> None:
    """Its key's share is overwritten, and files that told of its likeness are gone."""
    connection.execute(update(ERASURE).where(ERASURE.c.record == record).values(share=None))


def told(connection: Connection, record: str, revisions: Sequence[str]) -> None:
    """Who trained on it knows; these revisions were."""
    connection.execute(update(ERASURE).where(ERASURE.c.record == record).values(revisions=json.dumps(list(revisions))))


def revisions(connection: Connection, records_: Collection[str]) -> dict[str, list[str]]:
    """Names of the revisions that were trained on erased records, by record's id."""
    query = select(ERASURE.c.record, ERASURE.c.revisions).where(ERASURE.c.record.in_(list(records_)))
    return {row.record: json.loads(row.revisions or "[]") for row in connection.execute(query)}


def erased_leaves(connection: Connection, datanet: str, version: int) -> set[int]:
    """Leaves of a snapshot whose records are erased."""
    query = (
        select(LEAF.c.leaf)
        .join(RECORD, RECORD.c.id == LEAF.c.record)
        .where(LEAF.c.datanet == datanet, LEAF.c.version == version, RECORD.c.state == RecordState.ERASED)
    )
    return set(connection.execute(query).scalars())


def _unlike(connection: Connection, record: Record) -> list[str]:
    """Nothing says any more which records it is like; returns the snapshots that said so."""
    said = []
    places = select(LEAF.c.version, LEAF.c.leaf).where(LEAF.c.record == record.id)
    for version, leaf in connection.execute(places).all():
        pairs = (
            LEAF.c.datanet == record.datanet,
            LEAF.c.version == version,
            LEAF.c.first_leaf.is_not(None),
            or_(LEAF.c.leaf == leaf, LEAF.c.first_leaf == leaf),
        )
        if connection.execute(update(LEAF).where(*pairs).values(first_leaf=None)).rowcount:
            said.append(snapshot_name(record.datanet, version))
    return said


def _forget_upload(connection: Connection, record: Record) -> None:
    request_id = connection.execute(select(RECORD.c.request_id).where(RECORD.c.id == record.id)).scalar_one()
    this = (DECLARATION.c.contributor == record.contributor, DECLARATION.c.request_id == request_id)
    connection.execute(update(DECLARATION).where(*this).values(content_root=b"", signature=b""))
    # The row stays, so that the same request is not taken for a new one: no request has this hash.
    kept = (
        _IDEMPOTENCY.c.caller == names.account(record.contributor),
        _IDEMPOTENCY.c.method == _UPLOADS,
        _IDEMPOTENCY.c.request_id == request_id,
    )
    connection.execute(update(_IDEMPOTENCY).where(*kept).values(request_sha256=b"", response=b""))
