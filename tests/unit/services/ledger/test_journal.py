"""What journals say, and that they balance."""

from __future__ import annotations

import pytest

from openledger import split
from services.ledger import journal
from services.ledger.journal import Journal, Kind, Unbalanced
from tests.books_world import DEVELOPER, EARNERS, MODELS, PLATFORM, data_of, event, receipt_of

ACCOUNTS = tuple("0x" + digit * 40 for digit in "12")


def test_postings_that_do_not_sum_to_zero_are_no_journal():
    with pytest.raises(Unbalanced):
        Journal(Kind.DEPOSIT, "k", "p", "c", {"a": 1, "b": -2})
    with pytest.raises(Unbalanced):
        Journal(Kind.DEPOSIT, "k", "p", "c", {"a": 1, "b": -1, "c": 0})


def test_an_answer_pays_at_once_what_does_not_depend_on_others():
    found = receipt_of(ACCOUNTS[0], "leases/1", 1000, 1, adapter=MODELS[0])
    postings = journal.inference(found).postings
    assert postings.keys() == {
        journal.payer(ACCOUNTS[0]),
        journal.payable(DEVELOPER),
        journal.payable(PLATFORM),
        journal.pool(MODELS[0]),
        "held:base",
        "held:stakers",
    }
    data = sum(found.shares.get(who, 0) for who in (*EARNERS, split.UNATTRIBUTED))
    assert postings[journal.pool(MODELS[0])] == data > 0


def test_a_correction_undoes_an_answer_and_counts_as_no_fee():
    found = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1, adapter=MODELS[0]))
    undone = journal.correction(found, "d" * 64)
    assert (undone.kind, undone.key, undone.cause) == (Kind.CORRECTION, f"correction:{found.key}", found.cause)
    assert undone.payload_sha256 == "d" * 64
    rows = [(entry.kind, *posting) for entry in (found, undone) for posting in entry.postings.items()]
    sums = journal.conservation(rows)
    assert (sums.fees, sums.paid, sums.held, sums.pooled, sums.trial_balance) == (0, 0, 0, 0, 0)


def test_an_answer_pays_at_once_for_the_records_before_its_question():
    found = receipt_of(ACCOUNTS[0], "leases/1", 1000, 3, adapter=MODELS[0])
    postings = journal.inference(found).postings
    assert postings[journal.payable(EARNERS[0])] == found.shares[f"retrieval:{EARNERS[0]}"] > 0
    assert postings["held:unattributed"] == found.shares["retrieval:unattributed"] > 0
    assert postings[journal.pool(MODELS[0])] == data_of(found) > 0
    assert sum(postings.values()) == 0


def test_a_settlement_empties_the_pool_to_the_unit():
    found = journal.settlement("3.2", MODELS[0], {EARNERS[0]: 5, split.UNATTRIBUTED: 7})
    assert found.key == f"settlement:3.2:{MODELS[0]}"
    assert found.postings == {journal.payable(EARNERS[0]): 5, "held:unattributed": 7, journal.pool(MODELS[0]): -12}


def test_what_is_pooled_is_held_and_is_paid_or_kept_when_it_is_settled():
    answer = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1, adapter=MODELS[0]))
    pooled = answer.postings[journal.pool(MODELS[0])]
    settled = journal.settlement("1.1", MODELS[0], {EARNERS[0]: pooled - 7, split.UNATTRIBUTED: 7})

    def sums(*journals):
        return journal.conservation((j.kind, book, amount) for j in journals for book, amount in j.postings.items())

    before, after = sums(answer), sums(answer, settled)
    assert (before.pooled, after.pooled, before.difference, after.difference) == (pooled, 0, 0, 0)
    assert (after.fees, after.paid) == (before.fees, before.paid + pooled - 7)


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
