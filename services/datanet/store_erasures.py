"""Erasures in the database: what goes with a record at once, in one transaction, and how far the rest is."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from openledger import names, records
from services.datanet import sealing, store_firsts, store_likeness, store_records, store_screenings, store_use
from services.datanet.model import Record, RecordState, record_name
from services.datanet.tables import CONTENT, DECLARATION, ERASURE, KEY, METADATA, RECORD
from services.datanet.vault import Vault, place

_IDEMPOTENCY = METADATA.tables["idempotency"]
_UPLOADS = "ContributeRecords"


@dataclass(frozen=True)
class Erasure:
    """How far an erasure is.

    `told`: why, for those who trained on it.  `share`: where that of the record's key is, or was; empty where it has
    none, and where a version of before overwrote it.
    `destroyed`: whether the share is overwritten, and all that goes with it is done.
    """

    record: str
    datanet: str
    operation: str
    told: str
    share: bytes
    destroyed: bool = False

    @property
    def name(self) -> str:
        """Of the record."""
        return record_name(self.datanet, self.record)


def begin(
    connection: Connection, vault: Vault, record: Record, operation: str, now: int, *, reason: str, told: str
) -> Record:
    """Destroy all that the database has of a record but its place in trees.  Its datanet must be locked.

    reason: what was said of why, which is kept.  told: what those are told who trained on it.

    Gone are its content, key and length, what checks found in it, the tokens by which its text and texts like it are
    found, and what its upload, and its contributor's later word on it, left that follows from its text: the
    declaration's root and signature, and the answer that was kept for the same request.
    """
    # Who adds its likeness in this moment reads its key for that, and ends first: then there is something to forget.
    wrapped = connection.execute(select(KEY.c.wrapped).where(KEY.c.record == record.id).with_for_update()).scalar()
    store_likeness.forget(connection, record.id)
    store_firsts.forget(connection, record.name, _token(connection, vault, record))
    row = {
        "record": record.id,
        "operation": operation,
        "reason": reason,
        "told": told,
        "share": place(wrapped) if wrapped else b"",
        "create_time": now,
    }
    connection.execute(insert(ERASURE).values(row))
    store_screenings.forget(connection, record)
    for table in (CONTENT, KEY):
        connection.execute(delete(table).where(table.c.record == record.id))
    _forget_upload(connection, record)
    store_use.give_back(connection, record.contributor, record.size)
    connection.execute(update(RECORD).where(RECORD.c.id == record.id).values(size=0))
    return store_records.move(connection, record, RecordState.ERASED, "", now)


def pending(connection: Connection) -> list[Erasure]:
    """Erasures that are not at their end, oldest first."""
    return _erasures(connection, ERASURE.c.revisions.is_(None))


def everything(connection: Connection) -> list[Erasure]:
    """All erasures, oldest first."""
    return _erasures(connection)


def _erasures(connection: Connection, *which: ColumnElement[bool]) -> list[Erasure]:
    query = (
        select(ERASURE, RECORD.c.datanet)
        .join(RECORD, RECORD.c.id == ERASURE.c.record)
        .where(*which)
        .order_by(ERASURE.c.create_time, ERASURE.c.record)
    )
    return [
        Erasure(
            record=row.record,
            datanet=row.datanet,
            operation=row.operation,
            told=row.told,
            share=row.share or b"",
            destroyed=row.destroyed or row.share is None,  # as a version of before says it
        )
        for row in connection.execute(query)
    ]


def anew(connection: Connection, record: str, share: bytes) -> None:
    """Its key's share was found again: it is to be overwritten, and who trained on the record to be told, once more."""
    connection.execute(
        update(ERASURE).where(ERASURE.c.record == record).values(share=share, destroyed=False, revisions=None)
    )


def destroyed(connection: Connection, record: str) -> None:
    """Its key's share is overwritten, and nothing of it is in the database's log."""
    connection.execute(update(ERASURE).where(ERASURE.c.record == record).values(destroyed=True))


def told(connection: Connection, record: str, revisions: Sequence[str]) -> None:
    """Who trained on it knows; these revisions were."""
    connection.execute(update(ERASURE).where(ERASURE.c.record == record).values(revisions=json.dumps(list(revisions))))


def revisions(connection: Connection, records_: Collection[str]) -> dict[str, list[str]]:
    """Names of the revisions that were trained on erased records, by record's id."""
    query = select(ERASURE.c.record, ERASURE.c.revisions).where(ERASURE.c.record.in_(list(records_)))
    return {row.record: json.loads(row.revisions or "[]") for row in connection.execute(query)}


def _token(connection: Connection, vault: Vault, record: Record) -> bytes | None:
    """By which its text is found again; `None` where nobody can open it."""
    content = store_records.contents(connection, vault, [record.id]).get(record.id)
    return sealing.fingerprint_token(vault, records.fingerprint(content.fields)) if content else None


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
