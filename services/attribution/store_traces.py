"""Attribution's tables of what was asked and answered: traces, sealed for their payers, and who wants none kept.

A trace lies here from the transaction that settles it.  Times are texts of one form (RFC 3339 in UTC, six decimals),
whose order is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Table, Text, delete, func, insert, select, update

from services.attribution.store import METADATA
from services.kit.payer_keys import payer_key_table

PAYER_KEY = payer_key_table(METADATA)
SEALED = Table(
    "sealed_trace",
    METADATA,
    Column("response", Text, primary_key=True),
    Column("payer", Text, nullable=False, index=True),
    Column("end_time", Text, nullable=False, index=True),
    Column("data_key", Text, nullable=False),
    Column("box", Text, nullable=False),
)
FORGOTTEN = Table(
    "forgotten",
    METADATA,
    Column("payer", Text, primary_key=True),
    Column("before", Text, nullable=False),
)


@dataclass(frozen=True)
class SealedTrace:
    """A trace as it lies here.  `end_time`: of the answer; `data_key`: the name of the key that opens the box."""

    response: str
    payer: str
    end_time: str
    data_key: str
    box: str


def keep(connection: Connection, traces: Iterable[SealedTrace]) -> None:
    """Keep traces, each once; none that its payer wanted forgotten meanwhile."""
    for trace in traces:
        there = connection.execute(select(SEALED.c.response).where(SEALED.c.response == trace.response)).first()
        if there is None and trace.end_time > forgotten(connection, trace.payer):
            connection.execute(insert(SEALED).values(**vars(trace)))


def sealed(connection: Connection, response: str) -> SealedTrace | None:
    """The trace of a response, if it is kept."""
    row = connection.execute(select(SEALED).where(SEALED.c.response == response)).first()
    return None if row is None else SealedTrace(row.response, row.payer, row.end_time, row.data_key, row.box)


def forgotten(connection: Connection, payer: str) -> str:
    """Up to when nothing that the payer was answered is kept; empty for who never asked for that."""
    return connection.execute(select(FORGOTTEN.c.before).where(FORGOTTEN.c.payer == payer)).scalar() or ""


def forget(connection: Connection, payer: str, before: str) -> None:
    """Keep nothing of what there is of the payer's, nor of what it was answered up to then and comes yet."""
    connection.execute(delete(SEALED).where(SEALED.c.payer == payer))
    _remember(connection, payer, before)


def forget_up_to(connection: Connection, payer: str, before: str) -> None:
    """As `forget` did then: what came since stays."""
    connection.execute(delete(SEALED).where(SEALED.c.payer == payer, SEALED.c.end_time <= before))
    _remember(connection, payer, before)


def _remember(connection: Connection, payer: str, before: str) -> None:
    was = forgotten(connection, payer)
    if not was:
        connection.execute(insert(FORGOTTEN).values(payer=payer, before=before))
    elif was < before:
        connection.execute(update(FORGOTTEN).where(FORGOTTEN.c.payer == payer).values(before=before))


def let_go(connection: Connection, before: str, most: int) -> int:
    """Remove at most so many of the oldest traces that ended before then; returns how many."""
    old = select(SEALED.c.response).where(SEALED.c.end_time < before).order_by(SEALED.c.end_time).limit(most)
    names = connection.execute(old).scalars().all()
    connection.execute(delete(SEALED).where(SEALED.c.response.in_(names)))
    return len(names)


def oldest(connection: Connection) -> str | None:
    """When the oldest answer ended whose trace is kept."""
    return connection.execute(select(func.min(SEALED.c.end_time))).scalar()
