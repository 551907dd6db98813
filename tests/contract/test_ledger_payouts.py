"""What epochs gave to accounts: as the store has it, and as pages of it are told, on both databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import services.ledger
from services.kit.database import Database
from services.kit.errors import Fault
from services.ledger.reports import Reports
from services.ledger.store import epochs, leaf_pages, payouts
from services.ledger.store.epochs import Epoch, State
from services.ledger.store.payouts import Given

A, B, C, NOBODY = ("0x" + digit * 40 for digit in "abcd")
BIG = 2**120


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    story = (
        (State.ACTIVE, {A: BIG, B: 10}, {}),
        (State.ACTIVE, {A: BIG, B: 12, C: 7}, {A: 5}),  # of A everything had to wait
        (State.VETOED, {A: BIG + 9, B: 12, C: 7}, {}),
    )
    for number, (state, leaves, waiting) in enumerate(story, 1):
        epoch = Epoch(number, 1, state, "1" * 64, "2" * 64, 1, len(leaves), 1, "operations/o")
        database.write_now(lambda c, e=epoch, one=leaves, more=waiting: epochs.store(c, e, one, more))
    yield database
    database.close()


def test_what_an_epoch_gave_is_by_how_much_leaves_rose(database):
    first = [Given(1, A, BIG, BIG, 0, State.ACTIVE), Given(1, B, 10, 10, 0, State.ACTIVE)]
    assert database.read_now(lambda c: payouts.of_epoch(c, 1, "", 9)) == (first, "")
    second = [
        Given(2, A, 0, BIG, 5, State.ACTIVE),
        Given(2, B, 2, 12, 0, State.ACTIVE),
        Given(2, C, 7, 7, 0, State.ACTIVE),
    ]
    assert database.read_now(lambda c: payouts.of_epoch(c, 2, "", 9)) == (second, "")
    assert database.read_now(lambda c: payouts.of_epoch(c, 2, "", 2)) == (second[:2], B)
    assert database.read_now(lambda c: payouts.of_epoch(c, 3, "", 9)) == ([], ""), "it was struck out"


def test_of_an_account_the_newest_comes_first_and_what_gave_nothing_is_left_out(database):
    found, on = database.read_now(lambda c: payouts.of_account(c, B, None, 9, 9))
    assert ([(one.epoch, one.amount) for one in found], on) == ([(2, 2), (1, 10)], None)
    assert [one.epoch for one in database.read_now(lambda c: payouts.of_account(c, C, None, 9, 9))[0]] == [2]
    assert database.read_now(lambda c: payouts.of_account(c, NOBODY, None, 9, 9)) == ([], None)


@pytest.mark.parametrize("most", (1, 2, 3, 7))
async def test_so_many_epochs_are_looked_at_in_one_call_and_the_rest_in_the_next(database, monkeypatch, most):
    """For an account that earned nothing too: what strangers ask for is bounded."""
    looks, around = [], leaf_pages.around
    monkeypatch.setattr(leaf_pages, "around", lambda *args, **how: (looks.append(args), around(*args, **how))[1])
    monkeypatch.setattr(payouts, "EPOCHS", most)
    for who, gave in ((NOBODY, []), (A, ["epochs/2", "epochs/1"])):
        token, calls, seen = "", 0, []
        while calls == 0 or token:
            looks.clear()
            page = await Reports(database, outlive=0).given_to(who, None, 9, token)
            assert len(looks) <= 2 * (most + 2)
            token, calls = page.next_page_token, calls + 1
            seen += [one.epoch for one in page.payouts]
        assert (seen, calls) == (gave, -(-3 // most))


@pytest.mark.parametrize("most", (1, 2, 3))
async def test_so_many_accounts_are_looked_at_in_one_call_and_the_rest_in_the_next(database, monkeypatch, most):
    """Most accounts may have earned nothing in an epoch: A of the last one here."""
    monkeypatch.setattr(payouts, "ACCOUNTS", most)
    epoch = Epoch(4, 1, State.ACTIVE, "1" * 64, "2" * 64, 1, 3, 1, "operations/o")
    database.write_now(lambda c: epochs.reopen(c, 3))
    database.write_now(lambda c: epochs.store(c, replace(epoch, number=3), {A: BIG, B: 12, C: 7}))
    database.write_now(lambda c: epochs.store(c, epoch, {A: BIG, B: 12, C: 8}))
    token, calls, seen = "", 0, []
    while calls == 0 or token:
        page = await Reports(database, outlive=0).given_by(4, 9, token)
        token, calls = page.next_page_token, calls + 1
        seen += [(one.account, one.amount) for one in page.payouts]
    assert (seen, calls) == ([(f"accounts/{C}", "1")], -(-3 // most))


async def test_pages_follow_one_another_and_hold_everything_once(database):
    reports, seen, token = Reports(database, outlive=0), [], ""
    while True:
        page = await reports.given_by(2, 2, token)
        seen += [one.account for one in page.payouts]
        if not (token := page.next_page_token):
            break
    assert seen == [f"accounts/{who}" for who in (A, B, C)]
    first = await reports.given_to(B, None, 1, "")
    assert [one.epoch for one in first.payouts] == ["epochs/2"]
    rest = await reports.given_to(B, None, 1, first.next_page_token)
    assert [(one.epoch, one.amount, rest.next_page_token) for one in rest.payouts] == [("epochs/1", "10", "")]


@pytest.mark.parametrize(("who", "epoch", "amounts"), ((B, 1, ["10"]), (B, 2, ["2"]), (C, 1, []), (B, 3, [])))
async def test_one_epoch_and_one_account_are_one_answer(database, who, epoch, amounts):
    found = await Reports(database, outlive=0).given_to(who, epoch, 9, "")
    assert ([one.amount for one in found.payouts], found.next_page_token) == (amounts, "")


@pytest.mark.parametrize("token", ("1", "0x12", A + "0", "x' OR '1'='1"))
async def test_a_token_that_was_not_given_out_is_refused(database, token):
    with pytest.raises(Fault, match="page_token") as caught:
        await Reports(database, outlive=0).given_by(2, 2, token)
    assert caught.value.reason == "BAD_PAGE_TOKEN"
