"""What OpenLoRA keeps of adapter revisions, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.kit.database import Database
from services.openlora import store_adapters
from services.openlora.__main__ import MIGRATIONS

ANNE, BOB = "0x" + "a1" * 20, "0x" + "b0" * 20
LARGE = 2**40


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    found.migrate(MIGRATIONS)
    yield found
    found.close()


def test_pins_come_and_go_and_can_be_repeated(database):
    for name in ("x", "y"):
        for _ in range(2):
            database.write_now(lambda c, n=name: store_adapters.pin(c, n, on=True))
    assert database.read_now(store_adapters.pinned) == {"x", "y"}
    for _ in range(2):
        database.write_now(lambda c: store_adapters.pin(c, "x", on=False))
    database.write_now(lambda c: store_adapters.pin(c, "never", on=False))
    assert database.read_now(store_adapters.pinned) == {"y"}


def test_what_is_brought_is_summed_by_account_and_altogether(database):
    assert database.read_now(store_adapters.brought) == 0
    for name, who, size in (("x", ANNE, LARGE), ("y", ANNE, 5), ("z", BOB, 7)):
        database.write_now(lambda c, n=name, w=who, s=size: store_adapters.bring(c, n, w, s))
    assert database.read_now(lambda c: store_adapters.brought(c, ANNE)) == LARGE + 5
    assert database.read_now(lambda c: store_adapters.brought(c, BOB)) == 7
    assert database.read_now(store_adapters.brought) == LARGE + 12


def test_a_pin_and_what_was_brought_do_not_undo_each_other(database):
    database.write_now(lambda c: store_adapters.pin(c, "x", on=True))
    assert not database.read_now(lambda c: store_adapters.is_brought(c, "x"))
    database.write_now(lambda c: store_adapters.bring(c, "x", ANNE, 5))
    assert database.read_now(lambda c: store_adapters.is_brought(c, "x"))
    database.write_now(lambda c: store_adapters.pin(c, "x", on=False))
    assert database.read_now(lambda c: store_adapters.brought(c, ANNE)) == 5
    database.write_now(lambda c: store_adapters.pin(c, "x", on=True))
    assert database.read_now(store_adapters.pinned) == {"x"}
