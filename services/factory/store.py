"""The Factory's tables and every query on them.

Functions take the caller's connection; what a state means, and who may do what, they do not know.
Whoever changes a fine-tune changes its row first: the row's lock is what keeps its events in order and without gaps.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Insert,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from services.factory.model import UNFINISHED, Event, FineTune, Metrics, Revision, State, TrainingProgress
from services.factory.spec import FineTuneSpec
from services.kit.idempotency import idempotency_table

METADATA = MetaData()
idempotency_table(METADATA)

# SQLite numbers rows by itself only in a column that is INTEGER to the letter.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

FINE_TUNE = Table(
    "fine_tune",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("adapter", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("snapshot", Text, nullable=False),
    Column("snapshot_root", Text, nullable=False),
    Column("base_sha256", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("records", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("revision", Text, nullable=False),
    Column("metrics", Text),
    Column("events", BigInteger, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("end_time", DateTime(timezone=True)),
    Index("fine_tune_of_owner", "owner", "number"),
    Index("fine_tune_in_state", "state", "number"),
)
EVENT = Table(
    "event",
    METADATA,
    Column("fine_tune", Text, ForeignKey("fine_tune.id"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("state", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("step", Integer),
    Column("steps", Integer),
    Column("loss", Float(53)),
    Column("tokens_per_second", Float(53)),
    Column("seconds_left", Float(53)),
)
ADAPTER = Table("adapter", METADATA, Column("id", Text, primary_key=True), Column("owner", Text, nullable=False))
REVISION = Table(
    "revision",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("adapter", Text, ForeignKey("adapter.id"), nullable=False),
    Column("fine_tune", Text, ForeignKey("fine_tune.id"), nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Index("revision_of_adapter", "adapter", "number"),
)
SNAPSHOT = Table(
    "snapshot",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("root", Text, primary_key=True),
    Column("records", Text, nullable=False),
)


def claim_adapter(c: Connection, adapter: str, owner: str) -> str:
    """Give an unowned adapter id to `owner`; returns whose it is now."""
    _insert_new(c, insert(ADAPTER).values(id=adapter, owner=owner))
    return str(c.execute(select(ADAPTER.c.owner).where(ADAPTER.c.id == adapter)).scalar_one())


def add_fine_tune(c: Connection, job: FineTune, message: str) -> None:
    """A new fine-tune with its first event."""
    values = _values(job)
    c.execute(insert(FINE_TUNE).values(base=job.spec.base, events=0, **values))
    _append(c, job.id, job.state, message, None)


def find(c: Connection, id_: str) -> FineTune | None:
    """One fine-tune."""
    row = c.execute(select(FINE_TUNE).where(FINE_TUNE.c.id == id_)).first()
    return None if row is None else _fine_tune(row)


def page(c: Connection, owner: str, before: int | None, limit: int) -> list[tuple[int, FineTune]]:
    """An owner's fine-tunes with their numbers, newest first, from below the number `before`."""
    query = select(FINE_TUNE).where(FINE_TUNE.c.owner == owner).order_by(FINE_TUNE.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(FINE_TUNE.c.number < before)
    return [(row.number, _fine_tune(row)) for row in c.execute(query)]


def next_unfinished(c: Connection) -> FineTune | None:
    """What to work on: what was begun, before what waits; the oldest first."""
    for states in ((State.READING, State.TRAINING), (State.QUEUED,)):
        query = select(FINE_TUNE).where(FINE_TUNE.c.state.in_(states)).order_by(FINE_TUNE.c.number).limit(1)
        row = c.execute(query).first()
        if row is not None:
            return _fine_tune(row)
    return None


def queue_length(c: Connection) -> int:
    """Fine-tunes that are not at their end."""
    return int(c.execute(select(func.count()).where(FINE_TUNE.c.state.in_(UNFINISHED))).scalar_one())


def move(
    c: Connection, id_: str, state: State, said: str, expect: Collection[State] = UNFINISHED, **values: Any
) -> bool:
    """Bring a fine-tune from one of the states `expect` to `state`, with an event that says so.

    False, and nothing changed, when it is in another state by now.  `values`: further columns.
    """
    if state not in UNFINISHED:
        values["end_time"] = datetime.now(UTC)
    if "metrics" in values:
        values["metrics"] = json.dumps(values["metrics"].to_json())
    moved = c.execute(
        update(FINE_TUNE).where(FINE_TUNE.c.id == id_, FINE_TUNE.c.state.in_(expect)).values(state=state, **values)
    )
    if moved.rowcount == 1:
        _append(c, id_, state, said, None)
    return moved.rowcount == 1


def note(c: Connection, id_: str, state: State, message: str, progress: TrainingProgress | None) -> int:
    """An event of a fine-tune that stays in `state`; returns its sequence, or 0 when it is in another state by now."""
    locked = c.execute(update(FINE_TUNE).where(FINE_TUNE.c.id == id_, FINE_TUNE.c.state == state).values(state=state))
    return _append(c, id_, state, message, progress) if locked.rowcount == 1 else 0


def count_death(c: Connection, id_: str) -> int:
    """One more worker died under a fine-tune; returns how many have."""
    c.execute(update(FINE_TUNE).where(FINE_TUNE.c.id == id_).values(attempts=FINE_TUNE.c.attempts + 1))
    return int(c.execute(select(FINE_TUNE.c.attempts).where(FINE_TUNE.c.id == id_)).scalar_one())


def events(c: Connection, id_: str, after: int, limit: int) -> tuple[State, list[Event]]:
    """The state of a fine-tune and its events after a sequence, both of one moment."""
    state = State(c.execute(select(FINE_TUNE.c.state).where(FINE_TUNE.c.id == id_)).scalar_one())
    query = select(EVENT).where(EVENT.c.fine_tune == id_, EVENT.c.sequence > after)
    return state, [_event(row) for row in c.execute(query.order_by(EVENT.c.sequence).limit(limit))]


def last_metrics(c: Connection, base: str) -> Metrics | None:
    """What the last fine-tune of a base that succeeded measured."""
    query = select(FINE_TUNE.c.metrics).where(FINE_TUNE.c.base == base, FINE_TUNE.c.state == State.SUCCEEDED)
    text = c.execute(query.order_by(FINE_TUNE.c.number.desc()).limit(1)).scalar_one_or_none()
    return None if text is None else Metrics(**json.loads(text))


def add_revision(c: Connection, revision: Revision) -> Revision:
    """Keep a published revision; returns the one that was published first under that name."""
    values = dict(vars(revision)) | {"metrics": json.dumps(revision.metrics.to_json())}
    _insert_new(c, insert(REVISION).values(**values))
    found = find_revision(c, revision.name)
    assert found is not None
    return found


def find_revision(c: Connection, name: str) -> Revision | None:
    """One published revision."""
    row = c.execute(select(REVISION).where(REVISION.c.name == name)).first()
    return None if row is None else _revision(row)


def page_revisions(c: Connection, adapter: str | None, before: int | None, limit: int) -> list[tuple[int, Revision]]:
    """Published revisions (of one adapter) with their numbers, newest first, from below the number `before`."""
    query = select(REVISION).order_by(REVISION.c.number.desc()).limit(limit)
    if adapter is not None:
        query = query.where(REVISION.c.adapter == adapter)
    if before is not None:
        query = query.where(REVISION.c.number < before)
    return [(row.number, _revision(row)) for row in c.execute(query)]


def snapshot_records(c: Connection, name: str, root: str) -> str | None:
    """Digest of a snapshot's verified records, if they were read before."""
    query = select(SNAPSHOT.c.records).where(SNAPSHOT.c.name == name, SNAPSHOT.c.root == root)
    return c.execute(query).scalar_one_or_none()


def add_snapshot_records(c: Connection, name: str, root: str, records: str) -> None:
    """Keep the digest of a snapshot's verified records."""
    where = (SNAPSHOT.c.name == name, SNAPSHOT.c.root == root)
    if not _insert_new(c, insert(SNAPSHOT).values(name=name, root=root, records=records)):
        c.execute(update(SNAPSHOT).where(*where).values(records=records))


def _insert_new(c: Connection, row: Insert) -> bool:
    """Insert a row unless one with its key is there, which another transaction may be adding at this very moment."""
    try:
        with c.begin_nested():
            c.execute(row)
    except IntegrityError:
        return False
    return True


def _append(c: Connection, id_: str, state: State, message: str, progress: TrainingProgress | None) -> int:
    counted = update(FINE_TUNE).where(FINE_TUNE.c.id == id_).values(events=FINE_TUNE.c.events + 1)
    c.execute(counted)
    sequence = int(c.execute(select(FINE_TUNE.c.events).where(FINE_TUNE.c.id == id_)).scalar_one())
    measured = {} if progress is None else vars(progress)
    row = {"fine_tune": id_, "sequence": sequence, "time": datetime.now(UTC), "state": state, "message": message}
    c.execute(insert(EVENT).values(**row, **measured))
    return sequence


def _values(job: FineTune) -> dict[str, Any]:
    values = dict(vars(job))
    values["spec"] = json.dumps(job.spec.to_json())
    values["metrics"] = None if job.metrics is None else json.dumps(job.metrics.to_json())
    return values


def _fine_tune(row: Row[Any]) -> FineTune:
    values = dict(row._mapping)
    for column in ("number", "base", "events"):
        del values[column]
    values["spec"] = FineTuneSpec.from_json(json.loads(row.spec))
    values["state"] = State(row.state)
    values["metrics"] = None if row.metrics is None else Metrics(**json.loads(row.metrics))
    values["create_time"] = _utc(row.create_time)
    values["end_time"] = None if row.end_time is None else _utc(row.end_time)
    return FineTune(**values)


def _event(row: Row[Any]) -> Event:
    progress = None
    if row.steps is not None:
        progress = TrainingProgress(row.step, row.steps, row.loss, row.tokens_per_second, row.seconds_left)
    return Event(row.sequence, _utc(row.time), State(row.state), row.message, progress)


def _revision(row: Row[Any]) -> Revision:
    metrics = Metrics(**json.loads(row.metrics))
    return Revision(row.name, row.adapter, row.fine_tune, row.manifest, metrics, _utc(row.create_time))


def _utc(value: datetime) -> datetime:
    """SQLite forgets the zone of what it was given, which is always UTC here."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
