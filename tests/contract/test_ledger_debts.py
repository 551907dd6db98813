"""An answer that was given under a good lease is booked, whatever the chain took back since; on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

import services.ledger
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import check, journal, replay, spend
from services.ledger.admit import Admitted
from services.ledger.book import BOOKED, OWED, book_all
from services.ledger.debts import Debts
from services.ledger.journal import Kind, Unbalanced
from services.ledger.lease import Lease, Times
from services.ledger.store import books, events, payers
from tests.books_world import event, every_posting, receipt_of

A = "0x" + "1" * 40
NOW, TIMES = 1_000_000.0, Times(lease=100, grace=20, redeem=50)


@pytest.fixture
def database(database_url):
    found = Database(database_url)
    found.migrate(Path(services.ledger.__file__).parent / "migrations")
    yield found
    found.close()


def write(database, act):
    def locked(connection):
        books.lock(connection)
        return act(connection)

    return database.write_now(locked)


def deposit(database, number: int, amount: int) -> str:
    """It came; its key."""
    entry = journal.deposit(event(number), A, amount)
    assert write(database, lambda c: replay.tell(c, entry))
    return entry.key


def leased(database, amount: int) -> Lease:
    write(database, lambda c: spend.authorise(c, A, 1000, 2_000_000, b"s", NOW))
    return write(database, lambda c: spend.acquire(c, A, amount, TIMES, NOW))


def booked(database, lease: Lease, *fees: int, later: int = 1) -> list[str]:
    found = [receipt_of(A, lease.name, fee, number) for number, fee in enumerate(fees, 1)]
    page = [Admitted(one, one.digest(), one.dumps()) for one in found]
    return write(database, lambda c: book_all(c, page, NOW + later))


async def test_a_receipt_under_a_good_lease_is_booked_into_a_debt_that_the_next_deposit_pays(database):
    debts, key = Debts(database, Metrics("ledger")), deposit(database, 1, 100)
    lease = leased(database, 90)
    write(database, lambda c: replay.take_back(c, key))
    assert booked(database, lease, 50, 40, 1) == [OWED, OWED, "LEASE_EXCEEDED"]
    payer = database.read_now(lambda c: payers.get(c, A))
    assert (payer.balance, payer.spent) == (-90, 90)
    assert database.read_now(check.check).ok
    await debts.tell()
    assert (debts.told, database.read_now(events.debts)) == (90, {A: 90})
    assert write(database, lambda c: replay.tell(c, journal.deposit(event(1), A, 100)))
    await debts.tell()
    assert (debts.told, database.read_now(lambda c: payers.get(c, A)).balance) == (0, 10)
    sums = database.read_now(lambda c: journal.conservation(every_posting(c)))
    assert (sums.fees, sums.difference, sums.trial_balance) == (90, 0, 0)


def test_what_no_lease_reserves_any_more_is_not_lent(database):
    key = deposit(database, 1, 100)
    lease = leased(database, 90)
    write(database, lambda c: replay.take_back(c, key))
    assert booked(database, lease, 50, later=121) == ["INSUFFICIENT_BALANCE"]
    assert database.read_now(events.debts) == {}


def test_one_that_leaves_something_is_no_debt(database):
    deposit(database, 1, 100)
    assert booked(database, leased(database, 90), 0, 90) == [BOOKED, BOOKED]


def test_a_payer_is_left_with_no_less_than_was_decided(database):
    deposit(database, 1, 5)
    book, fee = journal.payer(A), {journal.payer(A): -10, "payable:b": 10}
    entry = journal.Journal(Kind.INFERENCE, "inference:responses/1", "p", "c", fee)
    for least in ({}, {book: -4}, {journal.payer("0x2"): -5}):
        with pytest.raises(Unbalanced, match="would be left with -5"):
            write(database, lambda c, least=least: books.post_all(c, [entry], least))
    write(database, lambda c: books.post_all(c, [entry], {book: -5}))
    assert database.read_now(lambda c: books.book(c, book)).balance == -5
