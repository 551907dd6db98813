"""What an epoch's check says, and does not say, of scores that are believed in part."""

from __future__ import annotations

from dataclasses import replace

from openledger import split
from tests.epoch_tampering import FEE, answered
from tests.epoch_world import PAYER, Ledger
from tests.ledger_world import a_receipt


def test_how_many_receipts_believe_their_scores_in_part_is_said(tmp_path):
    ledger, plain = Ledger(tmp_path), answered()
    evidence = replace(plain.evidence, trust_bps=5_000)
    shares = split.split_fee(FEE, plain.platform_fee, evidence, plain.rule)
    doubted = a_receipt(PAYER, "leases/1", FEE, evidence=evidence, shares=shares, grade="a" * 64)
    first, second = ledger.close(plain), ledger.close(answered(), doubted)
    believed, told = ({c.name: c for c in ledger.check(digest).checks}["terms"] for digest in (first, second))
    assert believed.ok
    assert "in part" not in believed.words
    assert told.ok
    assert "that 1 believe their scores in part is for `verify receipt` to check" in told.words
