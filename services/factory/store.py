"""Fine-tunes in the database: every query on their rows.

Functions take the caller's connection; what a state means, and who may do what, they do not know.
Whoever changes a fine-tune changes its row first: the row's lock is what keeps its events in order and without gaps.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select, update

from services.factory import store_events
from services.factory.licence import Attribution, Use
from services.factory.model import UNFINISHED, FineTune, Metrics, State, TrainingProgress
from services.factory.rows import insert_new, maybe_utc
from services.factory.run import Replacement, SnapshotPin
from services.factory.spec import FineTuneSpec
from services.factory.store_snapshots import took
from services.factory.tables import ADAPTER, FINE_TUNE, REVISION


def add_fine_tune(c: Connection, job: FineTune, said: str) -> None:
    """Put a new fine-tune into the line, with its first event."""
    c.execute(insert(FINE_TUNE).values(**_values(job), base=job.spec.base, events=0))
    store_events.append(c, job.id, job.state, said, None)


def claim_adapter(c: Connection, adapter: str, owner: str) -> str:
    """The owner of an adapter, who is this one from now on if it had none, or one to whom nothing of it is left.

    What is left to somebody is a revision, or a fine-tune that can come to one.
    """
    insert_new(c, insert(ADAPTER).values(id=adapter, owner=owner))
    revision = exists().where(REVISION.c.adapter == ADAPTER.c.id, REVISION.c.published)
    hopeful = FINE_TUNE.c.state.in_(UNFINISHED) | ((FINE_TUNE.c.state == State.SUCCEEDED) & (FINE_TUNE.c.output != ""))
    fine_tune = exists().where(FINE_TUNE.c.adapter == ADAPTER.c.id, FINE_TUNE.c.owner == ADAPTER.c.owner, hopeful)
    c.execute(update(ADAPTER).where(ADAPTER.c.id == adapter, ~revision, ~fine_tune).values(owner=owner))
    return str(c.execute(select(ADAPTER.c.owner).where(ADAPTER.c.id == adapter)).scalar_one())


def find(c: Connection, id_: str) -> FineTune | None:
    """One fine-tune."""
    row = c.execute(select(FINE_TUNE).where(FINE_TUNE.c.id == id_)).first()
    return None if row is None else _fine_tune(row)


def page(
    c: Connection, owner: str, before: int | None, limit: int, where: Collection[ColumnElement[bool]] = ()
) -> list[tuple[int, FineTune]]:
    """An owner's fine-tunes with their numbers, newest first, from below the number `before`."""
    query = select(FINE_TUNE).where(FINE_TUNE.c.owner == owner, *where)
    if before is not None:
        query = query.where(FINE_TUNE.c.number < before)
    return [(row.number, _fine_tune(row)) for row in c.execute(query.order_by(FINE_TUNE.c.number.desc()).limit(limit))]


def next_unfinished(c: Connection) -> FineTune | None:
    """What to work on: what was begun, before what waits; of that the oldest of whoever was served longest ago."""
    others = FINE_TUNE.alias()
    served = select(func.max(others.c.start_time)).where(others.c.owner == FINE_TUNE.c.owner)
    longest_ago = served.correlate(FINE_TUNE).scalar_subquery().asc().nulls_first()
    for states, order in (((State.READING, State.TRAINING), ()), ((State.QUEUED,), (longest_ago,))):
        query = select(FINE_TUNE).where(FINE_TUNE.c.state.in_(states)).order_by(*order, FINE_TUNE.c.number).limit(1)
        row = c.execute(query).first()
        if row is not None:
            return _fine_tune(row)
    return None


def unfinished(c: Connection) -> list[FineTune]:
    """All that is not at its end."""
    return [_fine_tune(row) for row in c.execute(select(FINE_TUNE).where(FINE_TUNE.c.state.in_(UNFINISHED)))]


def given_up(c: Connection) -> list[FineTune]:
    """What workers may have worked on and ended without a result."""
    query = select(FINE_TUNE).where(FINE_TUNE.c.state.in_((State.FAILED, State.CANCELLED)), FINE_TUNE.c.records != "")
    return [_fine_tune(row) for row in c.execute(query)]


def outputs(c: Connection, pins: Collection[SnapshotPin], record: str) -> list[str]:
    """Folders of what was trained on a record of these snapshots."""
    query = select(FINE_TUNE.c.output, FINE_TUNE.c.snapshots).where(FINE_TUNE.c.output != "", took(record))
    return [row.output for row in c.execute(query) if not _pins(row.snapshots).isdisjoint(pins)]


def outputs_of_ended(
    c: Connection, *, since: datetime | None = None, before: datetime | None = None
) -> list[tuple[str, str]]:
    """Fine-tunes that ended in that time, with each folder of what they came to."""
    where = [FINE_TUNE.c.output != "", FINE_TUNE.c.end_time.is_not(None)]
    where += [FINE_TUNE.c.end_time >= since] if since else []
    where += [FINE_TUNE.c.end_time < before] if before else []
    rows = c.execute(select(FINE_TUNE.c.id, FINE_TUNE.c.output, FINE_TUNE.c.audit_output).where(*where)).all()
    return [(row.id, output) for row in rows for output in (row.output, row.audit_output) if output]


def forget_outputs(c: Connection, ids: Collection[str]) -> None:
    """The folders of these fine-tunes are there no more."""
    c.execute(update(FINE_TUNE).where(FINE_TUNE.c.id.in_(ids)).values(output="", audit_output=""))


def revisions(c: Connection) -> list[str]:
    """Revisions that fine-tunes have come to, and that are published or still can be."""
    published = exists().where(REVISION.c.name == FINE_TUNE.c.revision, REVISION.c.published)
    where = (FINE_TUNE.c.revision != "", published | (FINE_TUNE.c.output != ""))
    return list(c.execute(select(FINE_TUNE.c.revision).where(*where)).scalars())


def revisions_of(c: Connection, pins: Collection[SnapshotPin], record: str) -> list[str]:
    """Those of fine-tunes on a record of these snapshots."""
    query = select(FINE_TUNE.c.revision, FINE_TUNE.c.snapshots).where(FINE_TUNE.c.revision != "", took(record))
    return [row.revision for row in c.execute(query) if not _pins(row.snapshots).isdisjoint(pins)]


def replacements(c: Connection, revision: str) -> list[FineTune]:
    """Fine-tunes that take a revision's run again without somebody, oldest first."""
    query = select(FINE_TUNE).where(FINE_TUNE.c.replaces.is_not(None), FINE_TUNE.c.adapter == revision.split("/")[1])
    found = map(_fine_tune, c.execute(query.order_by(FINE_TUNE.c.number)))
    return [job for job in found if job.replaces is not None and job.replaces.revision == revision]


def queue_length(c: Connection, owner: str = "") -> int:
    """Fine-tunes that are not at their end: an owner's, or all."""
    where = (FINE_TUNE.c.state.in_(UNFINISHED), *([FINE_TUNE.c.owner == owner] if owner else []))
    return int(c.execute(select(func.count()).select_from(FINE_TUNE).where(*where)).scalar_one())


def move(
    c: Connection, id_: str, state: State, said: str, expect: Collection[State] = UNFINISHED, **values: Any
) -> bool:
    """Bring a fine-tune from one of the states `expect` to `state`, with an event that says so.

    False, and nothing changed, when it is in another state by now.  `values`: further columns.
    """
    if state not in UNFINISHED:
        values |= {"end_time": datetime.now(UTC), "estimated_finish": None}
    elif state is not State.QUEUED:
        values["start_time"] = func.coalesce(FINE_TUNE.c.start_time, datetime.now(UTC))
    for name, plain in _JSON.items():
        if name in values:
            values[name] = plain(values[name])
    moved = c.execute(
        update(FINE_TUNE).where(FINE_TUNE.c.id == id_, FINE_TUNE.c.state.in_(expect)).values(state=state, **values)
    )
    if moved.rowcount == 1:
        store_events.append(c, id_, state, said, None)
    return moved.rowcount == 1


def note(c: Connection, id_: str, state: State, message: str, progress: TrainingProgress | None) -> int:
    """An event of a fine-tune that stays in `state`; returns its sequence, or 0 when it is in another state by now."""
    values: dict[str, Any] = {"state": state}
    if progress is not None and progress.tokens is not None:
        values["trained_tokens"] = progress.tokens
    if progress is not None and progress.seconds_left is not None:
        values["estimated_finish"] = datetime.now(UTC) + timedelta(seconds=progress.seconds_left)
    locked = c.execute(update(FINE_TUNE).where(FINE_TUNE.c.id == id_, FINE_TUNE.c.state == state).values(**values))
    if locked.rowcount == 0:
        return 0
    if progress is not None and progress.valid_loss is not None:
        store_events.put_checkpoint(c, id_, progress)
    return store_events.append(c, id_, state, message, progress)


def count_seconds(c: Connection, id_: str, seconds: float) -> None:
    """A fine-tune has trained for so long, lives of the service before this one included."""
    c.execute(update(FINE_TUNE).where(FINE_TUNE.c.id == id_).values(training_seconds=seconds))


def count_death(c: Connection, id_: str) -> int:
    """One more worker died under a fine-tune; returns how many have."""
    c.execute(update(FINE_TUNE).where(FINE_TUNE.c.id == id_).values(attempts=FINE_TUNE.c.attempts + 1))
    return int(c.execute(select(FINE_TUNE.c.attempts).where(FINE_TUNE.c.id == id_)).scalar_one())


def last_run(c: Connection, base: str) -> tuple[FineTuneSpec, Metrics] | None:
    """The last fine-tune of a base that succeeded, and what it measured."""
    where = (FINE_TUNE.c.base == base, FINE_TUNE.c.state == State.SUCCEEDED, FINE_TUNE.c.metrics.is_not(None))
    query = select(FINE_TUNE.c.spec, FINE_TUNE.c.metrics).where(*where).order_by(FINE_TUNE.c.number.desc()).limit(1)
    row = c.execute(query).first()
    return None if row is None else (FineTuneSpec.from_json(json.loads(row.spec)), Metrics(**json.loads(row.metrics)))


def _listed(values: Collection[Any]) -> str:
    return json.dumps([asdict(value) for value in values])


_JSON: Mapping[str, Any] = {
    "metrics": lambda metrics: None if metrics is None else json.dumps(metrics.to_json()),
    "spec": lambda spec: json.dumps(spec.to_json()),
    "snapshots": _listed,
    "attributions": _listed,
    "replaces": lambda replaces: None if replaces is None else json.dumps(asdict(replaces)),
}


def _pins(text: str) -> frozenset[SnapshotPin]:
    return frozenset(SnapshotPin(**pin) for pin in json.loads(text))


def _replacement(document: Mapping[str, Any]) -> Replacement:
    return Replacement(document["revision"], document["training"], tuple(document["without"]))


def _values(job: FineTune) -> dict[str, Any]:
    return {name: _JSON[name](value) if name in _JSON else value for name, value in vars(job).items()}


def _fine_tune(row: Row[Any]) -> FineTune:
    values = dict(row._mapping)
    for column in ("number", "base", "events"):
        del values[column]
    values["spec"] = FineTuneSpec.from_json(json.loads(row.spec))
    values["snapshots"] = tuple(SnapshotPin(**pin) for pin in json.loads(row.snapshots))
    values["attributions"] = tuple(Attribution(**due) for due in json.loads(row.attributions))
    values["replaces"] = None if row.replaces is None else _replacement(json.loads(row.replaces))
    values["use"], values["state"] = Use(row.use), State(row.state)
    values["metrics"] = None if row.metrics is None else Metrics(**json.loads(row.metrics))
    for column in ("create_time", "start_time", "estimated_finish", "end_time"):
        values[column] = maybe_utc(values[column])
    return FineTune(**values)
