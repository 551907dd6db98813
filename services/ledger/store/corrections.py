"""Which journals were taken back, by whom, and why: written in the transaction of the journal that does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, insert, select

from services.ledger.store.tables import CORRECTION, JOURNAL


@dataclass(frozen=True)
class Taken:
    """A journal that took another one back; `document` is what the operator signed."""

    journal: int
    corrects: int
    operator: str
    reason: str
    document: bytes
    cause: str
    create_time: datetime


def keep(connection: Connection, number: int, corrects: int, operator: str, reason: str, document: bytes) -> None:
    """The journal `number` took another one back."""
    values = {"journal": number, "corrects": corrects, "operator": operator, "reason": reason, "document": document}
    connection.execute(insert(CORRECTION).values(**values))


def of(connection: Connection, corrects: int) -> Taken | None:
    """What took that journal back."""
    query = select(CORRECTION, JOURNAL.c.cause, JOURNAL.c.create_time).join(
        JOURNAL, JOURNAL.c.number == CORRECTION.c.journal
    )
    row = connection.execute(query.where(CORRECTION.c.corrects == corrects)).first()
    return None if row is None else Taken(**row._mapping)


def documents(connection: Connection, above: int, through: int) -> Iterator[bytes]:
    """What operators signed of the journals in that range, in order."""
    query = select(CORRECTION.c.document).order_by(CORRECTION.c.journal)
    yield from connection.execute(query.where(CORRECTION.c.journal > above, CORRECTION.c.journal <= through)).scalars()


def taken_back(number: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the journal of that number was taken back."""
    return exists().where(CORRECTION.c.corrects == number)
