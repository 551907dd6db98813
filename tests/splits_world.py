"""Answers of revisions whose splits change, as receipts for books of their own."""

from __future__ import annotations

from datetime import UTC, datetime

from openledger.receipt import Model, Receipt
from openledger.split import NAT, Evidence, Rule, split_fee
from openledger.trace_proto import time_text
from services.ledger.registries import Split
from tests.epoch_world import PAYER
from tests.ledger_world import EARNERS, a_receipt

A, B = ("adapters/x/revisions/" + letter * 64 for letter in "ab")
OWN, FIRST, SECOND = Split(Rule.developer_bps, Rule.stakers_bps), Split(1500, 500), Split(4000, 1000)
WHO = EARNERS[0].address
EVIDENCE = Evidence(3 * NAT, NAT, {WHO: NAT}, (), {WHO: 0})


def answered(revision: str, split: Split, ended: int | None, fee: int = 10**18) -> Receipt:
    """Of an answer that ended then, by that split, whether it held or not.  None: of before receipts said when."""
    rule = Rule(developer_bps=split.developer_bps, stakers_bps=split.stakers_bps)
    return a_receipt(
        PAYER,
        "leases/1",
        fee,
        rule=rule,
        model=Model("base", "b" * 64, revision, "d" * 64),
        evidence=EVIDENCE,
        shares=split_fee(fee, fee // 10, EVIDENCE, rule),
        end_time="" if ended is None else time_text(datetime.fromtimestamp(ended, UTC)),
    )
