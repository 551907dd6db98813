"""Books against their postings, on both databases, and the operator's command."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import generate_latest
from sqlalchemy import update

import services.ledger
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import check, journal
from services.ledger.checks import UNREAD, Checks
from services.ledger.store import books, control, examine
from services.ledger.store.books import Sums
from services.ledger.store.examine import Wrong
from services.ledger.store.tables import BALANCE
from tests.books_world import event

A, B = "0x" + "1" * 40, "0x" + "2" * 40
BIG = 2**127


@pytest.fixture
def database(database_url):
    database = filled(Database(database_url))
    yield database
    database.close()


@pytest.fixture
def sqlite(tmp_path):
    database = filled(Database(f"sqlite:///{tmp_path}/alone/ledger.db"))
    yield database
    database.close()


def filled(database: Database) -> Database:
    database.migrate(Path(services.ledger.__file__).parent / "migrations")

    def begin(connection):
        books.lock(connection)
        for number, who in enumerate((A, A, B)):
            books.post(connection, journal.deposit(event(number), who, BIG + number))
        books.post(connection, journal.withdrawal(event(4), B, 9, 9))

    database.write_now(begin)
    return database


@pytest.fixture
def command(request, tmp_path, monkeypatch):
    """The operator's command, on the database that the test has; gives its exit status."""
    [database] = [request.getfixturevalue(name) for name in ("database", "sqlite") if name in request.fixturenames]
    settings = {
        "DATA_DIR": tmp_path, "ARTIFACTS_DIR": tmp_path, "SERVICE_SECRET": "s" * 32, "PLATFORM": A,
        "RPC_URL": "http://127.0.0.1:1", "DATABASE_URL": database.url.render_as_string(hide_password=False),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"OPENLEDGER_LEDGER_{name}", str(value))
    return lambda *arguments: check.main(list(arguments))


def looks(database, metrics: Metrics | None = None) -> Checks:
    return Checks(database, metrics or Metrics("ledger"), seconds=1, whole_seconds=3600)


def spoil(database) -> None:
    """One book holds a unit more, one is lost, and one has no postings."""

    def act(connection):
        connection.execute(update(BALANCE).where(BALANCE.c.book == journal.payer(A)).values(credits=2 * BIG + 2))
        connection.execute(BALANCE.delete().where(BALANCE.c.book == journal.payer(B)))
        connection.execute(BALANCE.insert().values(book="payable:z", credits=1, debits=0))

    database.write_now(act)


def test_books_that_agree_are_found_to_agree(database):
    assert database.read_now(check.check) == check.Found([], [])


def test_a_unit_too_much_is_found_and_rebuilt_from_the_postings(database):
    before = database.read_now(lambda c: books.sums(c, [journal.payer(A), journal.payer(B), journal.ESCROW]))
    spoil(database)
    wrong = database.read_now(check.check).books
    assert wrong == [
        Wrong(journal.payer(A), Sums(2 * BIG + 2, 0), Sums(2 * BIG + 1, 0)),
        Wrong(journal.payer(B), Sums(), Sums(BIG + 2, 9)),
        Wrong("payable:z", Sums(1, 0), Sums()),
    ]
    assert database.write_now(lambda c: (books.lock(c), examine.rebuild(c))[1]) == wrong
    assert database.read_now(check.check).ok
    assert before == database.read_now(lambda c: books.sums(c, before))


def test_an_unbalanced_journal_that_got_past_the_triggers_is_found(database):
    def act(connection):
        if database.is_sqlite:
            connection.exec_driver_sql("DROP TRIGGER posting_unchanged")
        else:
            connection.exec_driver_sql("ALTER TABLE posting DISABLE TRIGGER posting_append_only")
        connection.exec_driver_sql("UPDATE posting SET amount = '1' WHERE journal = 2 AND line = 0")

    database.write_now(act)
    found = database.read_now(check.check)
    assert found.journals == [2]
    assert found.books


async def test_books_that_cannot_be_read_are_trouble_until_they_can(database, monkeypatch):
    checks = looks(database)
    assert (await checks.step()).ok
    with monkeypatch.context() as broken:
        broken.setattr(control, "books", lambda _: int("--5"))
        with pytest.raises(ValueError, match="--5"):
            await checks.step()
    assert checks.trouble == UNREAD
    assert (await checks.step()).ok
    assert checks.trouble == ""


@pytest.mark.parametrize("amount", ("", "--5", "0\0"))
async def test_an_amount_that_is_no_number_is_found_where_the_triggers_did_not_stand(sqlite, amount, command, capsys):
    checks = looks(sqlite)
    assert (await checks.step()).ok

    def act(connection):
        for trigger in ("posting_unchanged", "posting_whole"):
            connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
        connection.exec_driver_sql("UPDATE posting SET amount = ? WHERE journal = 2 AND line = 0", (amount,))

    sqlite.write_now(act)
    for look in (checks.whole, checks.step, checks.whole):
        with pytest.raises(ValueError, match="invalid literal"):
            await look()
        assert checks.trouble == UNREAD
    assert command() == 2
    assert "the books cannot be read" in capsys.readouterr().err


async def test_the_service_counts_what_it_finds(database):
    metrics = Metrics("ledger")
    checks = looks(database, metrics)
    assert (await checks.step()).ok
    spoil(database)
    await checks.step()
    assert b"openledger_ledger_books_wrong 3.0" in generate_latest(metrics.registry)


def test_the_command_says_what_differs_and_rebuilds_it(database, command, capsys):
    assert command() == 0
    assert "Every journal sums to zero" in capsys.readouterr().out
    spoil(database)
    assert command() == 1
    assert f"{journal.payer(A)}: holds {2 * BIG + 2}, its postings say {2 * BIG + 1}\n" in capsys.readouterr().out
    assert command("--rebuild") == 0
    assert command() == 0
