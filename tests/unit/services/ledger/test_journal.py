"""The books under random stories: whatever happens in whatever order, they balance and nobody owes."""

from __future__ import annotations

import pytest

from services.ledger import journal
from services.ledger.journal import Journal, Kind, Unbalanced
from services.ledger.lease import Times
from tests.books_world import DEVELOPER, PLATFORM, event, receipt_of

ACCOUNTS = tuple("0x" + digit * 40 for digit in "12")
TIMES = Times(lease=100, grace=20, redeem=50)
SCALES = (1, 7, 10**20)  # small, so that amounts meet; large, so that they do not fit 64 bits


def test_postings_that_do_not_sum_to_zero_are_no_journal():
    with pytest.raises(Unbalanced):
        Journal(Kind.DEPOSIT, "k", "p", "c", {"a": 1, "b": -2})
    with pytest.raises(Unbalanced):
        Journal(Kind.DEPOSIT, "k", "p", "c", {"a": 1, "b": -1, "c": 0})


def test_the_base_models_developer_share_is_held_with_the_base_models():
    found = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1, developer=""))
    with_developer = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1))
    share = with_developer.postings[journal.payable(DEVELOPER)]
    assert found.postings["held:base"] == with_developer.postings["held:base"] + share
    assert sum(found.postings.values()) == 0


def test_shares_of_one_address_in_several_parts_become_one_line():
    found = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1, developer=PLATFORM))
    plain = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1))
    both = plain.postings[journal.payable(PLATFORM)] + plain.postings[journal.payable(DEVELOPER)]
    assert found.postings[journal.payable(PLATFORM)] == both


def test_what_left_escrow_beyond_what_was_unspent_stands_as_a_shortfall():
    found = journal.withdrawal(event(1), ACCOUNTS[0], 100, unspent=30)
    assert found.postings == {journal.payer(ACCOUNTS[0]): -30, journal.SHORTFALL: -70, journal.ESCROW: 100}


def test_a_void_is_the_contrary_of_what_the_chain_took_back():
    told = journal.claim(event(1), ACCOUNTS[0], 100)
    found = journal.void(told)
    assert found.postings == {journal.payable(ACCOUNTS[0]): 100, journal.CLAIMED: -100}
    assert (found.key, found.cause) == (f"void:{told.key}", told.cause)
    assert journal.void(told) == found
