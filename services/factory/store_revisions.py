"""Published adapter revisions in the database, and what became of them: deprecated by their owners, flagged.

A revision is flagged when a record of one of its snapshots is erased, and with it every one that it is combined in.
Who may do which, is decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, select, update

from services.factory.model import Flag, Metrics, Registration, Revision
from services.factory.rows import insert_new, maybe_utc, utc
from services.factory.run import SnapshotPin
from services.factory.store_snapshots import took
from services.factory.tables import ADAPTER, COMBINED, FINE_TUNE, FLAG, REVISION


def announce_revision(c: Connection, revision: Revision) -> None:
    """Hold a revision's place while its files are being published: nobody finds it, and an erasure flags it."""
    insert_new(c, insert(REVISION).values(**_values(revision), published=False))


def add_revision(c: Connection, revision: Revision) -> Revision:
    """Keep a published revision; returns the one that was published first under that name."""
    values = _values(revision) | {"published": True}
    if not insert_new(c, insert(REVISION).values(**values)):
        mine = {name: values[name] for name in ("published", "fine_tune", "metrics", "create_time", "card")}
        c.execute(update(REVISION).where(REVISION.c.name == revision.name, ~REVISION.c.published).values(**mine))
    found = find_revision(c, revision.name)
    assert found is not None
    return found


def find_revision(c: Connection, name: str) -> Revision | None:
    """One published revision."""
    row = c.execute(select(REVISION).where(REVISION.c.name == name, REVISION.c.published)).first()
    return None if row is None else _revisions(c, [row])[0]


def page_revisions(
    c: Connection, adapter: str | None, before: int | None, limit: int, *, retired: bool = True
) -> list[tuple[int, Revision]]:
    """Published revisions (of one adapter) with their numbers, newest first, from below the number `before`.

    retired: with those that are deprecated or flagged.
    """
    query = select(REVISION).where(REVISION.c.published).order_by(REVISION.c.number.desc()).limit(limit)
    if adapter is not None:
        query = query.where(REVISION.c.adapter == adapter)
    if before is not None:
        query = query.where(REVISION.c.number < before)
    if not retired:
        flagged = exists().where(FLAG.c.revision == REVISION.c.name)
        query = query.where(REVISION.c.deprecate_time.is_(None), ~flagged)
    rows = c.execute(query).all()
    return [(row.number, revision) for row, revision in zip(rows, _revisions(c, rows), strict=True)]


def made_from(c: Connection, pins: Collection[SnapshotPin], record: str) -> list[str]:
    """The revisions, published or announced, that were made from a record of these snapshots."""
    joined = REVISION.join(FINE_TUNE, FINE_TUNE.c.id == REVISION.c.fine_tune)
    query = (
        select(REVISION.c.name, FINE_TUNE.c.snapshots)
        .select_from(joined)
        .where(took(record))
        .order_by(REVISION.c.number)
    )
    return [
        row.name for row in c.execute(query) if any(SnapshotPin(**pin) in pins for pin in json.loads(row.snapshots))
    ]


def put_parents(c: Connection, name: str, parents: Collection[str]) -> None:
    """Remember which revisions one is the weighted sum of."""
    for parent in parents:
        insert_new(c, insert(COMBINED).values(revision=name, parent=parent))


def combined_from(c: Connection, parents: Collection[str]) -> list[str]:
    """The revisions, published or announced, that any of these is combined in."""
    joined = REVISION.join(COMBINED, COMBINED.c.revision == REVISION.c.name)
    query = select(REVISION.c.name).select_from(joined).where(COMBINED.c.parent.in_(parents))
    return list(dict.fromkeys(c.execute(query.order_by(REVISION.c.number)).scalars()))


def is_owner(c: Connection, name: str, owner: str) -> bool:
    """Whether a published revision is of one of this account's adapters."""
    joined = REVISION.join(ADAPTER, ADAPTER.c.id == REVISION.c.adapter)
    published = (REVISION.c.name == name, REVISION.c.published)
    query = select(REVISION.c.name).select_from(joined).where(*published, ADAPTER.c.owner == owner)
    return c.execute(query).first() is not None


def deprecate(c: Connection, name: str, reason: str, replaced_by: str = "") -> None:
    """A revision is not offered any more; once is enough, and the first reason stays.

    replaced_by: the revision to be used in its stead; the first one that is named stays.
    """
    where = (REVISION.c.name == name, REVISION.c.deprecate_time.is_(None))
    c.execute(update(REVISION).where(*where).values(deprecate_time=datetime.now(UTC), deprecate_reason=reason))
    c.execute(
        update(REVISION).where(REVISION.c.name == name, REVISION.c.replaced_by == "").values(replaced_by=replaced_by)
    )


def unregistered(c: Connection) -> list[str]:
    """Names of published revisions that are not on chain yet, the oldest first."""
    waiting = (REVISION.c.registration.is_(None), REVISION.c.published)
    return list(c.execute(select(REVISION.c.name).where(*waiting).order_by(REVISION.c.number)).scalars())


def register(c: Connection, name: str, registration: Registration) -> None:
    """A revision is on chain."""
    values = {"registration": json.dumps(vars(registration))}
    c.execute(update(REVISION).where(REVISION.c.name == name).values(**values))


def flag(c: Connection, name: str, record: str, reason: str) -> bool:
    """A revision was made from a record that is erased; False if that was known."""
    return insert_new(c, insert(FLAG).values(revision=name, record=record, reason=reason, time=datetime.now(UTC)))


def flagged_for(c: Connection, record: str) -> list[str]:
    """The revisions that are flagged for a record."""
    return list(c.execute(select(FLAG.c.revision).where(FLAG.c.record == record)).scalars())


def _values(revision: Revision) -> dict[str, Any]:
    values = {name: value for name, value in vars(revision).items() if name not in {"flags", "registration"}}
    return values | {"metrics": None if revision.metrics is None else json.dumps(revision.metrics.to_json())}


def _revisions(c: Connection, rows: Sequence[Row[Any]]) -> list[Revision]:
    flags: dict[str, list[Flag]] = {row.name: [] for row in rows}
    query = select(FLAG).where(FLAG.c.revision.in_(flags)).order_by(FLAG.c.time, FLAG.c.record)
    for found in c.execute(query):
        flags[found.revision].append(Flag(found.record, found.reason, utc(found.time)))
    return [_revision(row, tuple(flags[row.name])) for row in rows]


def _revision(row: Row[Any], flags: tuple[Flag, ...]) -> Revision:
    return Revision(
        name=row.name,
        adapter=row.adapter,
        fine_tune=row.fine_tune,
        manifest=row.manifest,
        metrics=None if row.metrics is None else Metrics(**json.loads(row.metrics)),
        create_time=utc(row.create_time),
        card=row.card,
        deprecate_time=maybe_utc(row.deprecate_time),
        deprecate_reason=row.deprecate_reason,
        replaced_by=row.replaced_by,
        flags=flags,
        registration=None if row.registration is None else Registration(**json.loads(row.registration)),
    )
