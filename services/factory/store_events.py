"""What happened to fine-tunes, in the database: events, and the checkpoints among them.

Events are appended by `services.factory.store`, in the transaction that has locked their fine-tune's row.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from services.factory.model import Checkpoint, Event, State, TrainingProgress
from services.factory.rows import utc
from services.factory.tables import CHECKPOINT, EVENT, FINE_TUNE


def append(c: Connection, id_: str, state: State, message: str, progress: TrainingProgress | None) -> int:
    """One more event of a fine-tune whose row this transaction has changed; returns its sequence."""
    c.execute(update(FINE_TUNE).where(FINE_TUNE.c.id == id_).values(events=FINE_TUNE.c.events + 1))
    sequence = int(c.execute(select(FINE_TUNE.c.events).where(FINE_TUNE.c.id == id_)).scalar_one())
    row = {"fine_tune": id_, "sequence": sequence, "time": datetime.now(UTC), "state": state, "message": message}
    c.execute(insert(EVENT).values(**row, **({} if progress is None else vars(progress))))
    return sequence


def events(c: Connection, id_: str, after: int, limit: int) -> tuple[State, list[Event]]:
    """The state of a fine-tune and its events after a sequence, both of one moment."""
    state = State(c.execute(select(FINE_TUNE.c.state).where(FINE_TUNE.c.id == id_)).scalar_one())
    query = select(EVENT).where(EVENT.c.fine_tune == id_, EVENT.c.sequence > after)
    return state, [_event(row) for row in c.execute(query.order_by(EVENT.c.sequence).limit(limit))]


def newest_events(c: Connection, id_: str, before: int | None, limit: int) -> list[tuple[int, Event]]:
    """Its events with their sequences, newest first, from below the sequence `before`."""
    query = select(EVENT).where(EVENT.c.fine_tune == id_)
    if before is not None:
        query = query.where(EVENT.c.sequence < before)
    return [(row.sequence, _event(row)) for row in c.execute(query.order_by(EVENT.c.sequence.desc()).limit(limit))]


def losses(c: Connection, id_: str) -> list[TrainingProgress]:
    """What was told of its loss, in order, the newest word on each step."""
    query = select(EVENT).where(EVENT.c.fine_tune == id_, EVENT.c.loss.is_not(None)).order_by(EVENT.c.sequence)
    told: dict[int, TrainingProgress] = {}
    for row in c.execute(query):
        progress = _event(row).progress
        if progress is not None:
            told[progress.step] = progress
    return [told[step] for step in sorted(told)]


def put_checkpoint(c: Connection, id_: str, progress: TrainingProgress, *, known_stays: bool = False) -> None:
    """Keep a measurement; the same step measured again, after a crash, is the same checkpoint.

    known_stays: one that is there already is left as it is.
    """
    key = (CHECKPOINT.c.fine_tune == id_) & (CHECKPOINT.c.step == progress.step)
    values = {
        "time": datetime.now(UTC),
        "train_loss": progress.loss,
        "valid_loss": progress.valid_loss,
        "valid_mean_token_accuracy": progress.valid_mean_token_accuracy,
        "trained_tokens": progress.tokens,
    }
    if known_stays and c.execute(select(CHECKPOINT.c.step).where(key)).first() is not None:
        return
    if c.execute(update(CHECKPOINT).where(key).values(**values)).rowcount == 0:
        c.execute(insert(CHECKPOINT).values(fine_tune=id_, step=progress.step, **values))


def checkpoints(c: Connection, id_: str, before: int | None, limit: int) -> list[tuple[int, Checkpoint]]:
    """Its checkpoints with their steps, newest first, from below the step `before`."""
    query = select(CHECKPOINT).where(CHECKPOINT.c.fine_tune == id_)
    if before is not None:
        query = query.where(CHECKPOINT.c.step < before)
    rows = c.execute(query.order_by(CHECKPOINT.c.step.desc()).limit(limit))
    return [(row.step, _checkpoint(row)) for row in rows]


def _checkpoint(row: Row[Any]) -> Checkpoint:
    accuracy = row.valid_mean_token_accuracy
    return Checkpoint(row.step, utc(row.time), row.train_loss, row.valid_loss, accuracy, row.trained_tokens)


def _event(row: Row[Any]) -> Event:
    progress = None if row.steps is None else TrainingProgress.of(dict(row._mapping))
    return Event(row.sequence, utc(row.time), State(row.state), row.message, progress)
