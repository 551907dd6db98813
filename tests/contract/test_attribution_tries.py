"""Measurements that never end are given up, on both databases; those that end in any way are not counted."""

from __future__ import annotations

from pathlib import Path

import pytest

import services.attribution
from services.attribution import store_tries
from services.attribution.tries import MOST, GivenUp, Tries
from services.kit.database import Database


@pytest.fixture
def database(database_url):
    found = Database(database_url)
    found.migrate(Path(services.attribution.__file__).parent / "migrations")
    yield found
    found.close()


def begun(database, key):
    return database.read_now(lambda c: store_tries.begun(c, key))


def full():
    raise MemoryError("full")


def wrong():
    raise ValueError("wrong")


def test_an_end_of_any_other_kind_is_not_counted(database):
    tries, seen = Tries(database), []
    assert tries.counted("a", lambda: seen.append(begun(database, "a")) or "done") == "done"
    assert seen == [1], "it is counted before it begins: the process may not live to say that it ended"
    for _ in range(MOST + 1):
        with pytest.raises(ValueError, match="wrong"):
            tries.counted("a", wrong)
    assert begun(database, "a") == 0


def test_what_runs_out_of_memory_so_often_is_given_up_and_the_others_are_not(database):
    tries = Tries(database)
    for _ in range(MOST):
        with pytest.raises(MemoryError):
            tries.counted("a", full)
    for _ in range(2):
        with pytest.raises(GivenUp, match="ran out of memory here"):
            Tries(database).counted("a", lambda: "done")
    assert tries.counted("b", lambda: "done") == "done"


def test_one_that_fits_at_last_begins_anew(database):
    tries = Tries(database)
    for _ in range(MOST - 1):
        with pytest.raises(MemoryError):
            tries.counted("a", full)
    assert tries.counted("a", lambda: "done") == "done"
    assert begun(database, "a") == 0
