"""Sessions of PostgreSQL that stand still in the midst of a COPY."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import pytest
from sqlalchemy.exc import DBAPIError

from services.kit.database import Database, bound_pause, pause_of
from services.kit.errors import from_exception
from services.kit.stalled import Stalled
from tests import postgres
from tests.needs import needs

BOUND = 0.2


@pytest.fixture
def database(postgres_cluster):
    with postgres.fresh_database(postgres_cluster) as url, closing(Database(url)) as found:
        found.write_now(lambda c: c.exec_driver_sql("CREATE TABLE row (number bigint)"))
        yield found


def copied(database, rows, *, bound=BOUND):
    """Bring these rows in, in one COPY."""

    def transaction(connection):
        bound_pause(connection, bound)
        driver = connection.connection
        with driver.cursor() as cursor, cursor.copy("COPY row FROM STDIN") as copy:
            for row in rows:
                copy.write_row((row,))

    database.write_now(transaction)


def count(database):
    return database.read_now(lambda c: c.exec_driver_sql("SELECT count(*) FROM row").scalar_one())


def looked(stalled, database):
    return database.read_now(stalled.look)


@needs("postgresql")
def test_one_that_brings_nothing_is_ended_and_can_be_tried_again(database):
    stalled, told = Stalled(database), []

    def rows():
        yield 1
        told.append(looked(stalled, database))
        time.sleep(2 * BOUND)
        told.append(looked(stalled, database))
        yield from range(100_000)

    with pytest.raises(Exception, match=r"terminat|lost|closed") as caught:
        copied(database, rows())
    assert told == [0, 1]
    if isinstance(caught.value, DBAPIError):
        assert from_exception(caught.value).reason == "DATABASE_UNAVAILABLE"
    assert count(database) == 0
    copied(database, range(3))
    assert (count(database), looked(stalled, database)) == (3, 0)


@needs("postgresql")
def test_one_that_goes_on_slowly_or_may_pause_for_longer_is_left_alone(database):
    stalled, told = Stalled(database), []

    def rows(pieces):
        for piece in range(pieces):
            yield from range(20_000 * piece, 20_000 * (piece + 1))  # more than the driver and the server keep together
            told.append(looked(stalled, database))
            time.sleep(0.7 * BOUND)

    copied(database, rows(6))
    copied(database, rows(1), bound=60)
    assert (count(database), sum(told)) == (140_000, 0)


def test_a_session_that_says_nothing_of_it_has_a_minute():
    assert (pause_of("psql"), pause_of("may pause 1500 ms")) == (60, 1.5)


async def test_on_sqlite_there_is_nothing_to_look_at(tmp_path):
    with closing(Database(f"sqlite:///{tmp_path}/one.db")) as database, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await Stalled(database).run()
