"""Answers that were taken back, and epochs that earn more than a root may add: derived again, and tampered with."""

from __future__ import annotations

import json

import pytest

from openledger import corrections, split
from openledger.claims import ClaimTree
from openledger.client import Wallet
from services.ledger import correct, journal
from services.ledger.store import books
from tests.books_world import data_of, every_posting
from tests.epoch_tampering import FEE, JOURNALS, LEAVES, answered
from tests.epoch_world import AT, CHAIN_ID, Ledger, failed

OPERATOR = Wallet("0x" + "09" * 32)


def take_back(ledger, receipt, reason="charged for an empty answer"):
    key = journal.inference_key(receipt.response)
    document = corrections.sign(CHAIN_ID, AT, key, reason, OPERATOR.private_key)
    return ledger.write(lambda c: correct.correct(c, corrections.parse(document), document))


def words_of(report):
    assert report.ok, failed(report)
    return {check.name: check.words for check in report.checks}


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """An epoch of three answers, one of which was taken back; and its bundle."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    receipts = [answered(), answered(flip=True), answered(fee=FEE // 3)]
    ledger.give(*receipts)
    ledger.spent(sum(receipt.fee for receipt in receipts))
    take_back(ledger, receipts[1])
    return ledger, receipts, ledger.close()


def test_an_answer_that_was_taken_back_pays_nobody_and_is_shown(corrected):
    ledger, (first, _, third), digest = corrected
    words = words_of(ledger.check(digest))
    assert f"1 answers were taken back, each by a reason that is signed: by {OPERATOR.address}" in words["corrections"]
    assert "3 receipts" in words["signatures"]
    assert "1 of them settlements and 1 corrections" in words["journals"]
    assert ledger.manifest(digest)["corrections"][0]["reason"] == "charged for an empty answer"
    settled = split.settle([split.Answer(data_of(r), r.evidence) for r in (first, third)], first.rule)
    leaves = {row["account"]: int(row["cumulative"]) for row in ledger.rows(digest, LEAVES)}
    for who in settled.keys() - {split.UNATTRIBUTED}:
        assert leaves[who] == settled[who]
    sums = ledger.database.read_now(lambda c: journal.conservation(every_posting(c)))
    assert (sums.fees, sums.difference, sums.pooled, sums.trial_balance) == (first.fee + third.fee, 0, 0, 0)


def signed_by_nobody(document):
    document["reason"] = "another"
    return document


def of_another_ledger(document):
    signed = corrections.sign(CHAIN_ID + 1, AT, document["journal"], document["reason"], OPERATOR.private_key)
    return json.loads(signed)


def of_an_answer_that_is_not_here(document):
    return json.loads(corrections.sign(CHAIN_ID, AT, "inference:responses/x", "why", OPERATOR.private_key))


@pytest.mark.parametrize(
    ("change", "check"),
    ((signed_by_nobody, "corrections"), (of_another_ledger, "corrections"), (of_an_answer_that_is_not_here, "shares")),
)
def test_a_correction_that_was_changed_is_found(corrected, change, check):
    ledger, _, digest = corrected
    [document] = ledger.manifest(digest)["corrections"]
    assert check in failed(ledger.check(ledger.forge(digest, corrections=[change(document)])))


def test_a_correction_that_is_hidden_doubled_or_not_journaled_is_found(corrected):
    ledger, _, digest = corrected
    [document] = ledger.manifest(digest)["corrections"]
    assert {"journals", "leaves"} <= failed(ledger.check(ledger.forge(digest, corrections=[]))).keys()
    assert "taken back twice" in failed(ledger.check(ledger.forge(digest, corrections=[document] * 2)))["corrections"]
    rows = [row for row in ledger.rows(digest, JOURNALS) if row["kind"] != "correction"]
    assert "journals" in failed(ledger.check(ledger.rewrite(digest, JOURNALS, rows)))


# --- more than one root may add


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    """What one epoch earned, in three of them; with the bundles."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"), most=FEE * 3 // 5)
    ledger.give(answered(), answered())
    return ledger, [ledger.close(), ledger.close(), ledger.close()]


def test_an_epoch_above_the_cap_is_paid_in_parts_of_everybodys(in_parts):
    ledger, digests = in_parts
    totals, rows = [], []
    for digest in digests:
        words = words_of(ledger.check(digest))
        totals.append(int(ledger.manifest(digest)["total"]))
        rows.append({row["account"]: row for row in ledger.rows(digest, LEAVES)})
    assert "the cap lets one root add" in words_of(ledger.check(digests[0]))["leaves"]
    rises = [now - was for was, now in zip([0, *totals], totals, strict=False)]
    assert all(0 < rise <= ledger.most for rise in rises)
    assert ledger.most - rises[0] < len(rows[0])  # rounding alone is left
    assert "the cap lets" not in words["leaves"]
    earned = ledger.database.read_now(lambda c: books.earned(c, journal.PAYABLE))
    assert {who: int(row["cumulative"]) for who, row in rows[-1].items()} == earned
    assert {row["waiting"] for row in rows[-1].values()} == {"0"}


def test_who_gets_more_of_the_cap_than_the_others_is_found(in_parts):
    ledger, (digest, second, _) = in_parts
    rows = ledger.rows(digest, LEAVES)
    rows[0] |= {"cumulative": str(int(rows[0]["cumulative"]) + 1), "waiting": str(int(rows[0]["waiting"]) - 1)}
    tree = ClaimTree.build(CHAIN_ID, AT, {row["account"]: int(row["cumulative"]) for row in rows})
    forged = ledger.rewrite(digest, LEAVES, rows, root=tree.root.hex(), total=str(tree.total))
    assert "by the cap on roots" in failed(ledger.check(forged))["leaves"]
    rows = ledger.rows(second, LEAVES)
    rows[0] |= {"waited": "0", "waiting": "0"}
    assert "leaves" in failed(ledger.check(ledger.rewrite(second, LEAVES, rows)))
