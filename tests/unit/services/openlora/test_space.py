"""While the disk is full nothing is begun, and when it is not any more that is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kit.database import Database
from services.kit.errors import Fault, invalid
from services.openlora.__main__ import MIGRATIONS
from services.openlora.space import Space


@pytest.fixture
def database(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/openlora.db")
    database.migrate(MIGRATIONS)
    yield database
    database.close()


def limit(database: Database, pages: int) -> None:
    database.write_now(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}"))


async def test_a_full_disk_is_noticed_by_the_write_that_fails_and_space_by_the_one_that_does_not(database):
    space = Space(database)
    space.check()
    with pytest.raises(OSError, match="left"), space.watched():
        raise OSError(28, "no space left on device")
    with pytest.raises(Fault, match="disk is full") as caught:
        space.check()
    assert (caught.value.reason, caught.value.retry_after) == ("DISK_FULL", 30)
    limit(database, 1)
    await space.probe()
    assert space.full
    limit(database, 100_000)
    await space.probe()
    space.check()


async def test_other_errors_say_nothing_of_the_disk(database):
    space = Space(database)
    with pytest.raises(Fault), space.watched():
        raise invalid("WRONG", "something else")
    space.check()
