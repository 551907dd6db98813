"""The sums that anybody may ask for are added seldom."""

from __future__ import annotations

import asyncio

import pytest

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import journal, sums
from services.ledger.checks import Checks
from services.ledger.store import books, payers
from services.ledger.store.tables import METADATA
from services.ledger.sums import Sums
from tests.books_world import event

A, B = "0x" + "a" * 40, "0x" + "b" * 40


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


@pytest.fixture
def added(monkeypatch):
    """How often everything was added."""
    times, real = [], sums._sums
    monkeypatch.setattr(sums, "_sums", lambda *given: (times.append(1), real(*given))[1])
    return times


async def sums_of(database, seconds: float = 0) -> Sums:
    """The sums of books that were looked at."""
    checks = Checks(database, Metrics("ledger"), seconds=1, whole_seconds=3600)
    assert (await checks.step()).ok
    return Sums(database, checks, seconds=seconds)


async def test_who_asks_meanwhile_and_soon_after_gets_the_same_answer(database, added):
    one = await sums_of(database, seconds=60)
    assert len({found.trial_balance for found in await asyncio.gather(*(one.now() for _ in range(5)))}) == 1
    await one.now()
    assert len(added) == 1


async def test_an_answer_grows_old(database, added):
    one = await sums_of(database)
    await one.now()
    await one.now()
    assert len(added) == 2


async def test_what_went_wrong_is_not_kept(database, monkeypatch):
    found = await sums_of(database, seconds=60)
    with monkeypatch.context() as patched:
        patched.setattr(sums, "_sums", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await found.now()
    assert (await found.now()).trial_balance == "0"


async def test_what_the_escrow_owes_and_what_was_lost_are_said(database):
    def act(c):
        books.lock(c)
        for number, (who, deadline, spent, redeemed) in enumerate(((A, 2**40, 50, 20), (B, 1000, 7, 0)), 1):
            payers.lock(c, who)
            payers.authorise(c, who, 100, deadline, b"s")
            payers.set_spent(c, who, spent)
            payers.set_redeemed(c, who, redeemed)
            books.post(c, journal.deposit(event(number), who, 50))
        books.post(c, journal.withdrawal(event(9), B, 50, 43))

    database.write_now(act)
    found = await (await sums_of(database)).now()
    assert (found.unredeemed, found.lapsed, found.shortfall, found.trial_balance) == ("37", "7", "7", "0")
