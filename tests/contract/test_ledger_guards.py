"""What the database itself refuses, on both kinds, and that many rows are written and found as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Text, cast, select
from sqlalchemy.exc import DBAPIError, IntegrityError

import services.ledger
from services.kit.database import Database
from services.ledger import journal
from services.ledger.store import books, bulk
from services.ledger.store.tables import BALANCE, JOURNAL, LEASE, PAYER, POSTING, REJECTED
from tests.books_world import event


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    yield database
    database.close()


def deposit(database, number: int) -> None:
    def act(connection):
        books.lock(connection)
        books.post(connection, journal.deposit(event(number), "0x" + "a" * 40, 2**120))

    database.write_now(act)


def raw(database, *statements: str) -> None:
    """What somebody with a database client does."""

    def act(connection):
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for statement in statements:
            connection.exec_driver_sql(statement)

    database.write_now(act)


def whole(database, *amounts: int | str) -> None:
    """A journal with those amounts, written past the ledger."""
    raw(database, *((lines(*amounts), HEAD) if database.is_sqlite else (HEAD, lines(*amounts))))


def lines(*amounts: int | str, number: int = 2, first: int = 0) -> str:
    given = (f"'{amount}'" if isinstance(amount, int) or not amount.startswith("(") else amount for amount in amounts)
    rows = ", ".join(f"({number}, {first + i}, 'payable:x', {amount})" for i, amount in enumerate(given))
    return f"INSERT INTO posting (journal, line, book, amount) VALUES {rows}"


HEAD = "INSERT INTO journal VALUES (2, 'claim', 'k', 'p', 'c', NULL, '2026-01-01 00:00:00+00:00')"
CARRY = (10**12, -(10**12) + 1, -1)
LARGE = (2**256 - 1, -(2**256) + 2, -1)


@pytest.mark.parametrize("amounts", ((5, -5), CARRY, LARGE, (10**77, -(10**77))))
def test_the_database_takes_a_journal_that_balances(database, amounts):
    deposit(database, 1)
    whole(database, *amounts)


@pytest.mark.parametrize("amounts", ((5, -4), (10**12, -(10**12) + 1), (2**256 - 1, -(2**256)), (10**77,), (7,)))
def test_the_database_refuses_a_journal_that_does_not_balance(database, amounts):
    deposit(database, 1)
    with pytest.raises(IntegrityError, match="do not sum to zero"):
        whole(database, *amounts)


NUL = {"sqlite": "('0' || x'00')", "postgresql": "(convert_from('\\x3000', 'UTF8')::numeric)"}
NO_NUMBERS = (("1.5", -1), ("1e3", -1), ("x", -1), ("0x10", -1), ("NaN",), ("Infinity",), ("٣", -3), ("5-", "-5"))
NO_NUMBERS += (("",), ("-",), ("--5", 5), ("5 5", -55), (10**78, -(10**78)), (10**84,), (10**84, -(10**84)), (NUL,))


@pytest.mark.parametrize("amounts", NO_NUMBERS, ids=lambda amounts: str(amounts)[:20])
def test_the_database_refuses_an_amount_that_is_no_whole_number(database, amounts):
    deposit(database, 1)
    given = [one["sqlite" if database.is_sqlite else "postgresql"] if one is NUL else one for one in amounts]
    with pytest.raises(DBAPIError):
        whole(database, *given)
    deposit(database, 2)


@pytest.mark.parametrize("amounts", (("05", -5), (5, "-05"), ("+5", -5), (" 5", -5), ("-0",), ("00",)))
def test_no_amount_is_there_in_another_spelling(database, amounts):
    """PostgreSQL keeps numbers, and no spelling."""
    deposit(database, 1)
    if database.is_sqlite:
        with pytest.raises(IntegrityError, match="not a whole number"):
            whole(database, *amounts)
        return
    whole(database, *amounts)
    query = select(cast(POSTING.c.amount, Text)).where(POSTING.c.journal == 2)
    kept = database.read_now(lambda c: set(c.execute(query).scalars()))
    assert kept <= {"5", "-5", "0"}


@pytest.mark.parametrize(("number", "key"), ((1, "k"), (2, None)))
def test_no_journal_takes_the_place_of_another(database, number, key):
    deposit(database, 1)
    before = database.read_now(lambda c: c.execute(select(JOURNAL)).all())
    row = f"({number}, 'claim', '{key or before[0].key}', 'p', 'c', NULL, '2026-01-01 00:00:00+00:00')"
    if database.is_sqlite:
        statement = f"INSERT OR REPLACE INTO journal VALUES {row}"
    else:
        statement = f"INSERT INTO journal VALUES {row} ON CONFLICT (number) DO UPDATE SET key = excluded.key"
    with pytest.raises(IntegrityError):
        raw(database, statement)
    assert database.read_now(lambda c: c.execute(select(JOURNAL)).all()) == before


@pytest.mark.parametrize(
    "statement",
    (
        "INSERT INTO receipt VALUES ('responses/1', 7, 'd', 'p', '1', '{}', '')",
        "UPDATE posting SET amount = '1'",
        "DELETE FROM posting",
        "DELETE FROM journal",
        "UPDATE journal SET key = 'other'",
        "UPDATE journal SET payload_sha256 = 'other'",
        lines(1, -1, number=1, first=9),
        lines(1, -1, number=7),
    ),
)
def test_the_database_refuses_to_change_what_was_journaled(database, statement):
    deposit(database, 1)
    with pytest.raises(IntegrityError):
        raw(database, statement)
    deposit(database, 2)


@pytest.mark.parametrize("amount", (1.0, 1.5, "1", True))
def test_an_amount_that_is_no_int_is_refused_before_it_gets_there(database, amount):
    rows = [("payable:x", amount, 0)]
    with pytest.raises(TypeError, match="an amount is an int"):
        database.write_now(lambda c: bulk.add(c, BALANCE, ("book", "credits", "debits"), rows))
    with pytest.raises(TypeError, match="an amount is an int"):
        database.write_now(lambda c: bulk.change(c, BALANCE, "book", ("credits", "debits"), rows))


@pytest.mark.parametrize("column", (BALANCE.c.book, JOURNAL.c.key, REJECTED.c.sha256, PAYER.c.address, LEASE.c.payer))
def test_rows_are_found_by_an_index_however_many_are_asked_for(database, column):
    query = select(column).where(bulk.among(column, ["x", "y"]))
    written = query.compile(dialect=database._reader.dialect, compile_kwargs={"render_postcompile": True})
    given = '["x"]' if database.is_sqlite else ["x"]

    def plan(connection):
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
        values = (given,) if database.is_sqlite else {next(iter(written.params)): given}
        return str(connection.exec_driver_sql(explain + str(written), values).all())

    found = database.read_now(plan)
    assert "SEARCH" in found if database.is_sqlite else "Index" in found, found
