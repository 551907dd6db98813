"""Answers that are given once: on SQLite and on PostgreSQL, where two transactions really run at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, func, insert, select

from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.idempotency import Idempotency, idempotency_table

METADATA = MetaData()
idempotency_table(METADATA)
DEEDS = Table("deeds", METADATA, Column("number", BigInteger, primary_key=True))
REQUEST, OTHER = Timestamp(seconds=1), Timestamp(seconds=2)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.write_now(METADATA.create_all)
    yield database
    database.close()


def ask(
    database: Database, request: Timestamp, both_are_there: threading.Barrier | None = None, *, apart: bool = False
) -> int:
    """The number of the deed that was done for a request; waits until the other has looked as well.

    Two at once meet in the row of the deed itself, or, with ``apart``, only in that of the answer.
    """
    answers = Idempotency(METADATA)
    met = both_are_there

    def transaction(c: Connection) -> int:
        nonlocal met
        known = answers.recall(c, "me", "Do", "id", request, Timestamp)
        if met is not None:
            waiting, met = met, None
            waiting.wait(10)
        if known is not None:
            return known.seconds
        number = (c.execute(select(func.max(DEEDS.c.number))).scalar() or 0) + 1
        c.execute(insert(DEEDS).values(number=number + (threading.get_ident() * 10 if apart else 0)))
        done = Timestamp(seconds=number)
        answers.remember(c, "me", "Do", "id", request, done)
        return number

    return database.write_now(transaction)


def deeds(database: Database) -> int:
    return int(database.read_now(lambda c: c.execute(select(func.count()).select_from(DEEDS)).scalar_one()))


def test_the_first_answer_is_given_again_and_nothing_is_done_twice(database: Database) -> None:
    assert ask(database, REQUEST) == ask(database, REQUEST) == 1
    assert deeds(database) == 1


def test_the_same_id_for_another_request_is_refused(database: Database) -> None:
    ask(database, REQUEST)
    with pytest.raises(Fault, match="used for another Do"):
        ask(database, OTHER)
    assert deeds(database) == 1


@pytest.mark.parametrize("apart", (False, True))
def test_twice_at_once_is_done_once_and_both_get_the_first_answer(database: Database, apart: bool) -> None:
    barrier = None if database.is_sqlite else threading.Barrier(2)  # SQLite lets one writer in at a time
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(ask, database, REQUEST, barrier, apart=apart) for _ in range(2)]
        assert [one.result(20) for one in both] == [1, 1]
    assert deeds(database) == 1
