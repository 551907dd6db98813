"""Payers' keys, the same on SQLite and PostgreSQL: one a payer and month, never in clear, and destroyed for good."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from openledger.key_files import KeyFileError
from services.kit.database import Database
from services.kit.payer_keys import IN_USE, MARGIN, PayerKeys, payer_key_table, service_key

SECRET = bytes(32)
PAYER, OTHER = ("accounts/0x" + letter * 40 for letter in "ab")
METADATA = MetaData()
TABLE = payer_key_table(METADATA)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, erases=True)
    found.write_now(METADATA.create_all)
    yield found
    found.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database, clock) -> PayerKeys:
    return PayerKeys(database, METADATA, SECRET, clock=clock)


def rows(database) -> list:
    return database.read_now(lambda c: c.execute(TABLE.select()).all())


async def test_each_payer_has_one_key_in_every_life_and_it_is_never_in_clear(database, keys, clock):
    mine, theirs = await keys.of(PAYER), await keys.of(OTHER)
    assert mine.secret != theirs.secret
    for life in (keys, PayerKeys(database, METADATA, SECRET, clock=clock)):
        assert await life.of(PAYER) == mine
        assert await life.named({mine.name, "none"}) == {mine.name: mine}
    assert len(rows(database)) == 2
    assert not any(mine.secret.hex() in str(row) for row in rows(database))


async def test_many_that_ask_at_once_get_one_key(database, keys):
    assert len({key.name for key in await asyncio.gather(*(keys.of(PAYER) for _ in range(20)))}) == 1
    assert len(rows(database)) == 1


async def test_a_retired_key_opens_and_says_so_and_seals_nothing_more(keys):
    first, theirs = await keys.of(PAYER), await keys.of(OTHER)
    await keys.named({first.name})
    await keys.retire(PAYER)
    second = await keys.of(PAYER)
    assert second.name != first.name
    found = await keys.named({first.name, second.name, theirs.name})
    assert {name: key.retired for name, key in found.items()} == {
        first.name: True,
        second.name: False,
        theirs.name: False,
    }
    assert await keys.retired() == [first.name]


async def test_a_key_that_is_retired_while_it_is_looked_for_is_not_handed_out_afterwards(keys):
    looking = asyncio.create_task(keys.of(PAYER))
    await asyncio.sleep(0)
    await keys.retire(PAYER)
    first = await looking
    assert (await keys.of(PAYER)).name != first.name


async def test_a_destroyed_key_is_gone_from_memory_too(database, keys):
    mine, theirs = await keys.of(PAYER), await keys.of(OTHER)
    await keys.named({mine.name, theirs.name})
    await keys.destroy([mine.name])
    assert await keys.named({mine.name, theirs.name}) == {theirs.name: theirs}
    assert (await keys.of(PAYER)).name != mine.name
    await keys.destroy_of(OTHER, lambda _: ())
    assert await keys.named({theirs.name}) == {}


async def test_nothing_of_a_destroyed_key_is_left_in_sqlites_files(database, keys):
    mine = await keys.of(PAYER)
    [wrapped] = [row.wrapped for row in rows(database)]
    await keys.destroy([mine.name])
    if database.is_sqlite:
        assert wrapped.encode() not in files_of(database)


def files_of(database) -> bytes:
    folder = Path(database.url.database).parent
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file())


class Held:
    """Writes that, from `hold` on, wait for `go` once they have begun."""

    def __init__(self, write) -> None:
        self._write, self.begun, self.go = write, threading.Event(), threading.Event()
        self.go.set()

    def hold(self) -> None:
        self.go.clear()
        self.begun.clear()

    def __call__(self, transaction):
        self.begun.set()
        self.go.wait(20)
        return self._write(transaction)

    async def breaks_off(self, doing, meanwhile) -> None:
        """Begins something, breaks it off in the midst of its writing, and does something else before that is done."""
        task = asyncio.create_task(doing)
        await asyncio.to_thread(self.begun.wait, 20)
        task.cancel()
        other = asyncio.create_task(meanwhile)
        for _ in range(20):
            await asyncio.sleep(0.001)
        self.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await other


@pytest.fixture
def held(database, monkeypatch) -> Iterator[Held]:
    found = Held(database.write_now)
    monkeypatch.setattr(database, "write_now", found)
    yield found
    found.go.set()


async def test_a_key_that_is_retired_seals_nothing_more_also_when_its_payer_hangs_up(keys, held):
    first = await keys.of(PAYER)
    await keys.named({first.name})
    held.hold()
    await held.breaks_off(keys.retire(PAYER), keys.of(PAYER))
    assert (await keys.of(PAYER)).name != first.name
    assert (await keys.named({first.name}))[first.name].retired


@pytest.mark.parametrize("way", ("by name", "by payer", "by age"))
async def test_a_key_that_is_destroyed_is_gone_for_good_also_when_its_payer_hangs_up(database, keys, clock, held, way):
    first = await keys.of(PAYER)
    [wrapped] = [row.wrapped for row in rows(database)]
    await keys.named({first.name})
    held.hold()
    if way == "by age":
        clock.now = START + IN_USE + timedelta(days=2)
    destroying = {
        "by name": lambda: keys.destroy([first.name]),
        "by payer": lambda: keys.destroy_of(PAYER, lambda _: ()),
        "by age": lambda: keys.destroy_unused(None),
    }
    await held.breaks_off(destroying[way](), keys.named({first.name}))
    assert await keys.named({first.name}) == {}
    assert (await keys.of(PAYER)).name != first.name
    if database.is_sqlite:
        assert wrapped.encode() not in files_of(database)


async def test_nobody_has_a_key_while_it_is_being_destroyed(keys, held):
    first = await keys.of(PAYER)
    held.hold()
    destroying = asyncio.create_task(keys.destroy_of(PAYER, lambda _: ()))
    await asyncio.to_thread(held.begun.wait, 20)
    asked = asyncio.create_task(keys.of(PAYER))
    await asyncio.sleep(0.01)
    assert not asked.done()
    held.go.set()
    await destroying
    assert (await asked).name != first.name


@pytest.mark.parametrize("way", ("retired", "destroyed"))
async def test_who_forgets_holds_nobody_up_who_seals(keys, held, way):
    theirs = await keys.of(OTHER)
    await keys.of(PAYER)
    held.hold()
    forgetting = asyncio.create_task(keys.retire(PAYER) if way == "retired" else keys.destroy_of(PAYER, lambda _: ()))
    await asyncio.to_thread(held.begun.wait, 20)
    async with asyncio.timeout(10):
        assert await keys.of(OTHER) == theirs
    held.go.set()
    await forgetting
    assert await keys.of(OTHER) == theirs


@pytest.mark.parametrize("anew", (False, True))
async def test_what_sqlites_log_kept_of_a_destroyed_key_goes_the_next_time_in_any_life(
    database, keys, clock, monkeypatch, anew
):
    mine = await keys.of(PAYER)
    [wrapped] = [row.wrapped for row in rows(database)]
    with monkeypatch.context() as patched:
        patched.setattr(database, "empty_log", lambda: False)  # a reader was in the way, or the process was killed
        await keys.destroy([mine.name])
    if database.is_sqlite:
        assert wrapped.encode() in files_of(database)
    life = PayerKeys(database, METADATA, SECRET, clock=clock) if anew else keys
    await life.destroy_unused(None)
    if database.is_sqlite:
        assert wrapped.encode() not in files_of(database)


async def test_what_goes_with_a_key_is_undone_with_it(database, keys):
    mine = await keys.of(PAYER)

    def fails(_: object) -> None:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        await keys.destroy_of(PAYER, fails)
    assert await keys.of(PAYER) == mine


async def test_a_key_seals_for_a_month_and_goes_when_nothing_of_its_is_left(keys, clock, database):
    first = await keys.of(PAYER)
    clock.now = START + IN_USE - timedelta(minutes=5)
    assert await keys.of(PAYER) == first
    clock.now = START + IN_USE + timedelta(hours=1)
    second = await keys.of(PAYER)
    assert second.name != first.name
    clock.now = START + timedelta(days=90)
    for oldest, left in (
        (START + timedelta(days=3), {first.name, second.name}),
        (START + IN_USE + MARGIN - timedelta(seconds=1), {first.name, second.name}),
        (START + IN_USE + MARGIN + timedelta(seconds=1), {second.name}),
        (None, set()),
    ):
        await keys.destroy_unused(oldest)
        assert {row.name for row in rows(database)} == left


async def test_with_nothing_kept_young_keys_stay(keys, clock, database):
    await keys.of(PAYER)
    clock.now = START + IN_USE
    await keys.destroy_unused(None)
    assert len(rows(database)) == 1


def test_the_services_key_is_made_once_and_kept(database, tmp_path):
    file = tmp_path / "traces.key"
    key = service_key(file, database, METADATA)
    assert len(key) == 32
    assert service_key(file, database, METADATA) == key
    assert file.stat().st_mode & 0o077 == 0


async def test_a_key_that_is_gone_or_another_one_is_not_replaced(database, tmp_path):
    file = tmp_path / "traces.key"
    secret = service_key(file, database, METADATA)
    await PayerKeys(database, METADATA, secret).of(PAYER)
    text = file.read_text()
    file.unlink()
    with pytest.raises(KeyFileError, match="Put it back"):
        service_key(file, database, METADATA)
    assert not file.exists()
    for wrong, why in (("0" * 64, "another key"), ("no key", "64 hex digits")):
        file.write_text(wrong)
        file.chmod(0o600)
        with pytest.raises(KeyFileError, match=why):
            service_key(file, database, METADATA)
    file.write_text(text)
    assert service_key(file, database, METADATA) == secret


@pytest.fixture
def lives(database, clock, tmp_path):
    """The service's keys, in one life after another, with a list of what payers took back."""
    return lambda: PayerKeys(database, METADATA, SECRET, clock=clock, forgotten=tmp_path / "forgotten")


async def test_what_a_payer_had_destroyed_is_destroyed_again_where_a_copy_brought_it_back(database, lives):
    keys = lives()
    mine, theirs = await keys.of(PAYER), await keys.of(OTHER)
    copy = rows(database)
    await keys.destroy_of(PAYER, lambda _: ())
    _put_back(database, copy)
    again = lives()
    assert set(await again.named({mine.name, theirs.name})) == {mine.name, theirs.name}, "the copy has both"
    await again.destroy_again()
    assert await again.named({mine.name, theirs.name}) == {theirs.name: theirs}
    assert (await again.of(PAYER)).name != mine.name


async def test_what_a_payer_took_back_is_retired_again_where_a_copy_brought_it_back(database, lives):
    keys = lives()
    mine, _ = await keys.of(PAYER), await keys.of(OTHER)
    copy = rows(database)
    await keys.retire(PAYER)
    await keys.retire(PAYER)
    fresh = await keys.of(PAYER)
    await keys.destroy([mine.name])
    _put_back(database, copy)
    again = lives()
    await again.retire_again()
    assert await again.retired() == [mine.name]
    assert (await again.named({mine.name}))[mine.name].retired
    assert (await again.of(PAYER)).name not in (mine.name, fresh.name)


async def test_the_list_has_names_alone_each_once_and_is_no_harm_where_they_are_gone(database, lives, tmp_path):
    keys = lives()
    await keys.destroy_again()
    mine = await keys.of(PAYER)
    for _ in range(3):
        await keys.retire(PAYER)
    assert (tmp_path / "forgotten").read_text() == f"{mine.name}\n"
    assert (tmp_path / "forgotten").stat().st_mode & 0o777 == 0o600
    await keys.destroy([mine.name])
    await lives().retire_again()
    assert rows(database) == []


async def test_a_list_that_cannot_be_written_keeps_the_key_and_says_so(database, lives, tmp_path):
    keys = lives()
    mine = await keys.of(PAYER)
    (tmp_path / "forgotten").mkdir()
    with pytest.raises(OSError, match="forgotten"):
        await keys.destroy_of(PAYER, lambda _: ())
    assert await keys.named({mine.name}) == {mine.name: mine}


def _put_back(database, copy) -> None:
    def act(connection) -> None:
        connection.execute(TABLE.delete())
        connection.execute(TABLE.insert(), [row._asdict() for row in copy])

    database.write_now(act)
