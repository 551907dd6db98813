"""What the chain tells, takes back and tells again."""

from __future__ import annotations

from functools import cache

import pytest

from services.ledger import journal, replay
from services.ledger.journal import Event, Unbalanced
from services.ledger.store import books
from tests.books_stores import Store
from tests.books_world import event

A = "0x" + "1" * 40
STORE = cache(Store)


@pytest.fixture
def write():
    engine = STORE().clear()

    def act(work):
        with engine.begin() as connection:
            books.lock(connection)
            return work(connection)

    return act


def balance(connection) -> int:
    return books.book(connection, journal.payer(A)).balance


def test_an_event_stands_once_however_often_it_is_told(write):
    told = journal.deposit(event(1), A, 10)
    assert [write(lambda c: replay.tell(c, told)) for _ in range(3)] == [True, False, False]
    assert write(balance) == 10


def test_an_event_told_in_two_ways_is_an_alarm(write):
    write(lambda c: replay.tell(c, journal.deposit(event(1), A, 10)))
    with pytest.raises(replay.Contradiction):
        write(lambda c: replay.tell(c, journal.deposit(event(1), A, 11)))


def test_what_is_taken_back_can_come_again_and_again(write):
    told = journal.deposit(event(1), A, 10)
    assert not write(lambda c: replay.take_back(c, told.key))
    for _ in range(3):
        assert write(lambda c: replay.tell(c, told))
        assert write(balance) == 10
        assert [write(lambda c: replay.take_back(c, told.key)) for _ in range(2)] == [True, False]
        assert write(balance) == 0
    sums = write(lambda c: books.book(c, journal.payer(A)))
    assert (sums.credits, sums.debits) == (0, 0)


def test_a_void_may_leave_a_payer_owing_and_nothing_else_may(write):
    told = journal.deposit(event(1), A, 10)
    write(lambda c: replay.tell(c, told))
    write(lambda c: replay.tell(c, journal.withdrawal(event(2), A, 8, 8)))
    write(lambda c: replay.take_back(c, told.key))
    assert write(balance) == -8
    with pytest.raises(Unbalanced):
        write(lambda c: replay.tell(c, journal.withdrawal(event(3), A, 1, 1)))
    write(lambda c: replay.tell(c, journal.deposit(event(4), A, 5)))
    assert write(balance) == -3
    moved = Event("0x" + "b" * 64, told.cause, 3)
    write(lambda c: replay.tell(c, journal.deposit(moved, A, 10)))
    assert write(balance) == 7


def test_a_claim_that_was_taken_back_was_neither_claimed_nor_earned(write):
    earned = journal.claim(event(1), A, 4)
    write(lambda c: replay.tell(c, earned))
    write(lambda c: replay.take_back(c, earned.key))
    sums = write(lambda c: books.book(c, journal.payable(A)))
    assert (sums.credits, sums.debits) == (0, 0)
