"""The table of audited answers: how well each one's scores agreed with retraining."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Float,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    delete,
    insert,
    select,
)

from openledger import canonical, grade
from openledger.grade import MOST_ANSWERS, Grade
from services.attribution.store import METADATA

AUDIT = Table(
    "answer_audit",
    METADATA,
    Column("response", Text, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("paid", Float, nullable=False),
    Column("shuffled", Float, nullable=False),
    Column("document_sha256", Text, nullable=False),
    Column("place", Integer, nullable=False, server_default="0"),
    Column("halves", Float),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Index("ix_answer_audit_revision", "revision", "create_time"),
)


@dataclass(frozen=True)
class Audited:
    """One answer: rank correlations over the contributors, and the published document that says how they came about.

    place: of 10,000, by which it was drawn.  halves: rank correlation over halves of the contributors, where there are.
    """

    response: str
    revision: str
    paid: float
    shuffled: float
    document_sha256: str
    place: int = 0
    halves: float | None = None


GRADE = Table(
    "model_grade",
    METADATA,
    Column("revision", Text, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)


def keep(connection: Connection, audited: Sequence[Audited], now: datetime) -> None:
    """Keep audits, each once."""
    names = [each.response for each in audited]
    present = set(connection.execute(select(AUDIT.c.response).where(AUDIT.c.response.in_(names))).scalars())
    for each in audited:
        if each.response not in present:
            connection.execute(insert(AUDIT).values(**vars(each), create_time=now))


def audits(connection: Connection, revision: str, share_bps: int = 10_000) -> list[Audited]:
    """A revision's audited answers, newest first, as many as its grade is over: those that such a share draws."""
    found = select(AUDIT).where(AUDIT.c.revision == revision, AUDIT.c.place < share_bps)
    found = found.order_by(AUDIT.c.create_time.desc(), AUDIT.c.response).limit(MOST_ANSWERS)
    return [
        Audited(row.response, row.revision, row.paid, row.shuffled, row.document_sha256, row.place, row.halves)
        for row in connection.execute(found)
    ]


def keep_grade(connection: Connection, given: Grade) -> None:
    """Put a model's grade in the place of the one before."""
    connection.execute(delete(GRADE).where(GRADE.c.revision == given.revision))
    connection.execute(insert(GRADE).values(revision=given.revision, document=given.dumps()))


def grade_sha256(connection: Connection, revision: str) -> str:
    """SHA-256 of a revision's grade; "" where it has none.  Another one as soon as an answer more is audited."""
    document = connection.execute(select(GRADE.c.document).where(GRADE.c.revision == revision)).scalar()
    return "" if document is None else canonical.sha256(document)


def grades(connection: Connection, revisions: Iterable[str]) -> dict[str, Grade]:
    """The grades of those revisions that have one."""
    found = select(GRADE).where(GRADE.c.revision.in_(list(revisions)))
    return {row.revision: grade.parse(row.document) for row in connection.execute(found)}
