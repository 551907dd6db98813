"""What a contributor has of some receipts: for training and for records before the question, apart."""

from __future__ import annotations

from dataclasses import replace

from openledger.receipt import sign
from openledger.split import NAT, RETRIEVAL, Retrieval, split_fee
from services.attribution.contribution import add_up
from tests.unit.openledger.test_receipt import KEY, SIGNED, UNSIGNED, A, B, C

REVISION = UNSIGNED.model.adapter


def with_records():
    """An answer for which A is paid twice, and C for a record alone."""
    retrieval = Retrieval(5 * NAT, 4 * NAT, {A: NAT // 2, C: NAT // 4})
    evidence = replace(UNSIGNED.evidence, retrieval=retrieval)
    shares = split_fee(UNSIGNED.fee, UNSIGNED.platform_fee, evidence, UNSIGNED.rule)
    return sign(replace(UNSIGNED, evidence=evidence, shares=shares), KEY)


def test_what_records_were_paid_is_told_beside_what_training_was():
    found = with_records()
    told = add_up([found.dumps(), SIGNED.dumps()], REVISION, A)
    assert told.amount == found.shares[A] + SIGNED.shares[A] > 0
    assert told.records_amount == found.shares[f"{RETRIEVAL}:{A}"] > 0
    assert (told.answers, told.paid_answers, told.fees) == (2, 2, 2 * UNSIGNED.fee)
    both = found.shares[A] + found.shares[B] + SIGNED.shares[A] + SIGNED.shares[B]
    assert told.contributors_amount == both


def test_who_is_paid_for_a_record_alone_is_paid():
    found = with_records()
    told = add_up([found.dumps(), SIGNED.dumps()], REVISION, C)
    assert (told.amount, told.records_amount) == (0, found.shares[f"{RETRIEVAL}:{C}"])
    assert (told.answers, told.paid_answers) == (2, 1)
