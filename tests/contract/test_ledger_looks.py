"""The service's looks at the books, on both databases: what is new, everything, broken off, and spoilt meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from psycopg import errors
from sqlalchemy import exc, update

import services.ledger
from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.metrics import Metrics
from services.ledger import checks as looks
from services.ledger import control, journal
from services.ledger.checks import ADDING, UNREAD, Checks
from services.ledger.control import ControlTotals
from services.ledger.store import books
from services.ledger.store import control as store
from services.ledger.store.control import RUNNING, WHOLE
from services.ledger.store.tables import CONTROL_TOTAL
from services.ledger.sums import Sums
from tests.books_world import event, every_posting

A, B = "0x" + "1" * 40, "0x" + "2" * 40
BIG = 2**127


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    deposit(database, *range(1, 6))
    yield database
    database.close()


@pytest.fixture
def read(monkeypatch):
    """The numbers of the journals whose postings were read since it was last emptied."""
    numbers, real = [], store.lines

    def lines(*given):
        for line in real(*given):
            numbers.append(line[0])
            yield line

    monkeypatch.setattr(store, "lines", lines)
    return numbers


def deposit(database, *numbers: int) -> None:
    """Two postings each; of the third its void as well."""

    def act(connection):
        books.lock(connection)
        for number in numbers:
            entry = journal.deposit(event(number), (A, B)[number % 2], BIG + number)
            books.post_all(connection, [entry, journal.void(entry)] if number % 3 == 0 else [entry])

    database.write_now(act)


def checks_of(database, **more: float) -> Checks:
    return Checks(database, Metrics("ledger"), **{"seconds": 1, "whole_seconds": 3600} | more)


def kept(database, name: str = RUNNING) -> store.Kept | None:
    return database.read_now(lambda c: store.kept(c, name))


def of_everything(database, key: str) -> ControlTotals:
    return database.read_now(lambda c: control.add(ControlTotals(key), store.lines(c, 0), store.last(c)))[0]


def spoil(database, *statements: str) -> None:
    """What somebody does who may leave the triggers out."""

    def act(connection):
        if database.is_sqlite:
            connection.exec_driver_sql("DROP TRIGGER posting_unchanged")
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        else:
            connection.exec_driver_sql("ALTER TABLE posting DISABLE TRIGGER posting_append_only")
        for statement in statements:
            connection.exec_driver_sql(statement)

    database.write_now(act)


async def test_the_old_sums_and_what_is_new_are_the_whole(database, read):
    checks = checks_of(database)
    assert (await checks.step()).ok
    assert set(read) == {1, 2, 3, 4, 5, 6}
    for number in (7, 9, 10):
        deposit(database, number)
        read.clear()
        before, last = checks.totals.journals, database.read_now(store.last)
        assert (await checks.step()).ok
        assert set(read) == set(range(before + 1, last + 1))
        assert checks.totals == kept(database).totals == of_everything(database, checks.totals.key)
        assert checks.totals.money == database.read_now(lambda c: journal.conservation(every_posting(c)))


async def test_after_a_restart_only_what_is_new_is_added(database, read):
    assert (await checks_of(database).step()).ok
    deposit(database, 7)
    read.clear()
    again = checks_of(database)
    assert again.trouble is None
    assert (await again.step()).ok
    assert (set(read), again.trouble) == ({7}, "")


async def test_who_asks_for_the_sums_has_only_what_is_new_added(database, read):
    checks = checks_of(database)
    await checks.step()
    sums = Sums(database, checks, seconds=0)
    for number, new in ((7, {7}), (8, {8})):
        deposit(database, number)
        read.clear()
        found = await sums.now()
        assert (set(read), found.trial_balance, found.difference) == (new, "0", "0")
    await checks.whole()
    read.clear()
    await sums.now()
    assert read == []


async def test_before_the_first_look_nobody_makes_the_ledger_add_everything(database, read):
    sums = Sums(database, checks_of(database), seconds=60, wait=0.01)
    for _ in range(2):
        with pytest.raises(Fault) as refused:
            await sums.now()
        assert (refused.value.reason, refused.value.retry_after, read) == ("BOOKS_UNREAD", 60, [])


UNBALANCED = ("UPDATE posting SET amount = '1' WHERE journal = 2 AND line = 0",)
BALANCED = (f"UPDATE posting SET book = 'payer:{A}' WHERE journal = 1 AND book <> 'chain:escrow'",)


@pytest.mark.parametrize(
    ("statements", "words"),
    ((UNBALANCED, "journals/2 does not balance"), (BALANCED, "2 books: payer:0x11")),
)
async def test_an_old_posting_that_was_changed_is_found_by_a_look_at_everything_and_stays_found(
    database, statements, words
):
    checks = checks_of(database)
    assert (await checks.step()).ok
    spoil(database, *statements)
    deposit(database, 7)
    assert (await checks.step()).ok  # it is not new
    assert not (await checks.whole()).ok
    assert words in checks.trouble
    assert kept(database) is None
    assert not (await checks.step()).ok
    again = checks_of(database)  # a restart forgets nothing
    assert not (await again.step()).ok
    assert words in again.trouble


async def test_while_everything_is_added_for_the_first_time_that_is_why_no_root_goes_out(database, monkeypatch):
    checks, said, real = checks_of(database), [], looks._rest
    monkeypatch.setattr(
        looks, "_rest", lambda *given: (said.append((checks.trouble, checks.in_the_way)), real(*given))[1]
    )
    assert checks.in_the_way is None
    for _ in range(2):
        await checks.step()
        assert (checks.trouble, checks.in_the_way) == ("", "")
    assert said == [(None, ADDING), ("", "")]
    again = checks_of(database)
    monkeypatch.setattr(looks, "_rest", lambda *given: (said.append(again.in_the_way), real(*given))[1])
    await again.step()
    assert said[-1] is None  # it takes a moment


async def test_the_look_at_everything_comes_by_itself(database, monkeypatch):
    monkeypatch.setattr(looks, "AGAIN_SECONDS", 0.01)
    checks = checks_of(database, whole_seconds=3600)
    await checks.step()
    spoil(database, *UNBALANCED)
    work = asyncio.create_task(checks.run_whole())
    await asyncio.sleep(0.1)
    assert checks.trouble == ""
    database.write_now(lambda c: c.execute(update(CONTROL_TOTAL).values(whole_time=CONTROL_TOTAL.c.whole_time - 3600)))
    async with asyncio.timeout(10):
        while not checks.trouble:
            await asyncio.sleep(0.01)
    work.cancel()
    assert "journals/2 does not balance" in checks.trouble


async def test_a_new_journal_that_does_not_balance_is_found_until_it_is_mended(database):
    checks = checks_of(database)
    await checks.step()
    deposit(database, 7)
    spoil(database, "UPDATE posting SET amount = '1' WHERE journal = 7 AND line = 0")
    for _ in range(2):
        assert (await checks.step()).journals == [7]
    assert kept(database).totals.journals == 6
    spoil_again = f"UPDATE posting SET amount = '{-BIG - 7}' WHERE journal = 7 AND line = 0"
    database.write_now(lambda c: c.exec_driver_sql(spoil_again))
    assert (await checks.step()).ok
    assert (checks.trouble, kept(database).totals.journals) == ("", 7)


async def test_a_journal_beyond_the_last_that_was_written_is_found(database):
    checks = checks_of(database)
    await checks.step()
    head = "INSERT INTO journal VALUES (99, 'claim', 'k', 'p', 'c', NULL, '2026-01-01 00:00:00+00:00')"
    lines = "INSERT INTO posting VALUES (99, 0, 'payable:x', '5'), (99, 1, 'payable:y', '-5')"
    spoil(database, *((lines, head) if database.is_sqlite else (head, lines)))
    for look in (checks.step, checks.whole):
        assert 99 in (await look()).journals
    assert "does not balance" in checks.trouble


@pytest.mark.parametrize("totals", ("", "[]", "{}", '{"key": "00"}'))
async def test_totals_that_cannot_be_read_were_not_kept(database, totals, read):
    await checks_of(database).step()
    database.write_now(lambda c: c.execute(update(CONTROL_TOTAL).values(totals=totals)))
    read.clear()
    assert (await checks_of(database).step()).ok
    assert set(read) == {1, 2, 3, 4, 5, 6}


async def test_totals_that_somebody_changed_are_made_anew(database, read):
    checks = checks_of(database)
    await checks.step()
    wrong = control.ControlTotals(checks.totals.key, 6, checks.totals.money, 1, 1)
    database.write_now(lambda c: store.go_on(c, wrong))
    assert (await checks.step()).ok  # by the books and the postings themselves
    assert kept(database) is None
    assert (await checks.step()).ok
    assert kept(database).totals == of_everything(database, checks.totals.key)


async def test_a_look_at_everything_that_was_broken_off_goes_on_where_it_was(database, monkeypatch, read):
    monkeypatch.setattr(looks, "PIECE", 1)
    monkeypatch.setattr(looks, "_KEEP_SECONDS", -1)
    monkeypatch.setattr(looks, "SHARE", 1)
    real, left = control.add, [3]

    def add(*given):
        left[0] -= 1
        if left[0] < 0:
            raise InterruptedError
        return real(*given)

    with monkeypatch.context() as broken:
        broken.setattr(control, "add", add)
        with pytest.raises(InterruptedError):
            await checks_of(database).step()
    assert (kept(database), kept(database, WHOLE).totals.journals) == (None, 3)
    read.clear()
    checks = checks_of(database)
    assert (await checks.step()).ok
    assert set(read) == {4, 5, 6}
    assert (kept(database).totals, kept(database, WHOLE)) == (of_everything(database, checks.totals.key), None)


def of_database(kind, error):
    return kind("SELECT", {}, error)


PASSING = (
    of_database(exc.OperationalError, errors.AdminShutdown()),
    of_database(exc.InternalError, errors.IdleInTransactionSessionTimeout()),  # the process was paused for a minute
    exc.TimeoutError(),  # others had all connections
    OSError("no more files"),
)
DAMAGE = (
    of_database(exc.InternalError, errors.DataCorrupted()),
    of_database(exc.InternalError, errors.IndexCorrupted()),
    of_database(exc.DatabaseError, sqlite3.DatabaseError("database disk image is malformed")),
    ValueError("--5"),
    OverflowError("Infinity"),
)


@pytest.mark.parametrize(("error", "passes"), (*((e, True) for e in PASSING), *((e, False) for e in DAMAGE)), ids=repr)
async def test_a_look_at_everything_that_is_broken_off_finds_books_wrong_only_where_they_are_damaged(
    database, monkeypatch, read, error, passes
):
    """Else what was found right until now is, and nobody waits for hours until everything is added once more."""
    checks = checks_of(database)
    await checks.step()
    deposit(database, 7)
    with monkeypatch.context() as broken:

        def books(_):
            raise error

        broken.setattr(store, "books", books)
        with pytest.raises(type(error)):
            await checks.whole()
    assert (checks.trouble, kept(database) is None) == (("", False) if passes else (UNREAD, True))
    read.clear()
    assert (await checks.step()).ok
    assert (checks.trouble, set(read)) == ("", {7} if passes else set(range(1, 8)))


async def test_a_look_at_everything_that_was_broken_off_long_ago_begins_anew(database, read):
    """What it had added may have been changed since: else that would be found two days later."""
    checks = checks_of(database)
    await checks.step()
    first = database.read_now(lambda c: control.add(ControlTotals.of_nothing(), store.lines(c, 0, 3), 3))[0]
    for ago, expected in ((3500, {4, 5, 6}), (3700, {1, 2, 3, 4, 5, 6})):
        database.write_now(lambda c, a=ago: store.begin(c, WHOLE, first, int(time.time()) - a))
        read.clear()
        assert (await checks.whole()).ok
        assert set(read) == expected


async def test_while_an_old_journal_does_not_balance_nobody_has_everything_added(database, monkeypatch, read):
    monkeypatch.setattr(looks, "PIECE", 1)
    monkeypatch.setattr(looks, "SHARE", 1)
    checks = checks_of(database)
    await checks.step()
    sums = Sums(database, checks, seconds=0)
    await sums.now()
    spoil(database, *UNBALANCED)
    for number in (7, 8):
        assert not (await checks.whole()).ok
        deposit(database, number)
        read.clear()
        await sums.now()
        assert set(read) == {number}


async def test_another_process_that_forgot_is_not_contradicted(database):
    """It found an old posting changed: no look at what is new by somebody else makes that right."""
    first, second = checks_of(database), checks_of(database)
    await first.step()
    spoil(database, *UNBALANCED)
    await first.whole()
    database.write_now(lambda c: store.go_on(c, first.totals))
    assert kept(database) is None
    assert not (await second.step()).ok
