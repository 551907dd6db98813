"""Every way of tampering with an epoch's bundle, and which check finds it."""

from __future__ import annotations

import json
from dataclasses import replace

from openledger import canonical, merkle, receipt, split
from openledger.claims import ClaimTree
from openledger.split import NAT, Rule
from tests.epoch_world import AT, CHAIN_ID, PAYER
from tests.ledger_world import EARNERS, SIGNER, a_receipt

RECEIPTS, JOURNALS, LEAVES = "receipts.parquet", "journals.parquet", "leaves.parquet"
FEE = 10**18 + 7
FIRST, SECOND = (account.address for account in EARNERS[:2])


def answered(fee: int = FEE, flip: bool = False, **changes):
    """An answer; `flip`: the first earner's score is negative, and its credit is a debt."""
    plain = a_receipt(PAYER, "leases/1", fee)
    rule = changes.get("rule", Rule())
    scores = dict(plain.evidence.scores) | ({FIRST: -NAT // 20} if flip else {})
    evidence = replace(plain.evidence, scores=scores)
    shares = split.split_fee(fee, plain.platform_fee, evidence, rule)
    return a_receipt(PAYER, "leases/1", fee, evidence=evidence, shares=shares, **changes)


def with_its_root(ledger, digest, rows, **changes):
    """The leaves, and a root and total that fit."""
    tree = ClaimTree.build(CHAIN_ID, AT, {row["account"]: int(row["cumulative"]) for row in rows})
    return ledger.rewrite(digest, LEAVES, rows, root=tree.root.hex(), total=str(tree.total), **changes)


def leaf_raised(ledger, digest):
    """One unit more for one account, and a root and total that fit."""
    rows = ledger.rows(digest, LEAVES)
    rows[2]["cumulative"] = str(int(rows[2]["cumulative"]) + 1)
    return with_its_root(ledger, digest, rows)


def leaf_raised_and_had_before(ledger, digest):
    """The same, said to have been there before, with another root of before."""
    rows = ledger.rows(digest, LEAVES)
    for key in ("before", "cumulative"):
        rows[2][key] = str(int(rows[2][key]) + 1)
    was = ClaimTree.build(CHAIN_ID, AT, {row["account"]: int(row["before"]) for row in rows if row["before"] != "0"})
    previous = ledger.manifest(digest)["previous"] | {"root": was.root.hex()}
    return with_its_root(ledger, digest, rows, previous=previous)


def leaf_dropped(ledger, digest):
    return with_its_root(ledger, digest, ledger.rows(digest, LEAVES)[1:])


def leaf_twice(ledger, digest):
    rows = ledger.rows(digest, LEAVES)
    return ledger.rewrite(digest, LEAVES, [rows[0], *rows])


def root_of_others(ledger, digest):
    return ledger.forge(digest, root="1" * 64)


def total_raised(ledger, digest):
    return ledger.forge(digest, total=str(int(ledger.manifest(digest)["total"]) + 1))


def log_root_of_others(ledger, digest):
    return ledger.forge(digest, log_root="1" * 64)


def receipts_of(change):
    """Receipts changed, with a log root that fits."""

    def tamper(ledger, digest):
        rows = change(ledger.rows(digest, RECEIPTS))
        digests = [bytes.fromhex(canonical.sha256(row["document"])) for row in rows]
        return ledger.rewrite(digest, RECEIPTS, rows, log_root=merkle.root(digests).hex())

    tamper.__name__ = change.__name__
    return tamper


@receipts_of
def receipt_changed(rows):
    document = json.loads(rows[0]["document"])
    rows[0]["document"] = canonical.dumps(document | {"lease": "leases/2"})
    return rows


@receipts_of
def receipt_signed_again(rows):
    """By whom it should be: other evidence, with the shares that follow.  The journals tell."""
    found = receipt.parse(rows[0]["document"])
    evidence = replace(found.evidence, nll_base=found.evidence.nll_base + NAT)
    shares = split.split_fee(found.fee, found.platform_fee, evidence, found.rule)
    changed = receipt.sign(replace(found, evidence=evidence, shares=shares), SIGNER.private_key)
    rows[0]["document"] = changed.dumps()
    return rows


@receipts_of
def receipt_split_otherwise(rows):
    found = receipt.parse(rows[0]["document"])
    shares = dict(found.shares) | {FIRST: found.shares.get(FIRST, 0) + 1, SECOND: found.shares[SECOND] - 1}
    rows[0]["document"] = receipt.sign(replace(found, shares=shares), SIGNER.private_key).dumps()
    return rows


@receipts_of
def receipt_dropped(rows):
    return rows[1:]


@receipts_of
def receipt_twice(rows):
    return [*rows, rows[0] | {"journal": rows[-1]["journal"] + 1}]


def receipt_of_an_epoch_before(ledger, digest):
    """In the place of one of this epoch's."""
    there = ledger.rows(ledger.manifest(digest)["previous"]["bundle"], RECEIPTS)[0]["document"]
    return receipts_of(lambda rows: [rows[0] | {"document": there}, *rows[1:]])(ledger, digest)


@receipts_of
def receipts_out_of_order(rows):
    return [rows[1], rows[0], *rows[2:]]


@receipts_of
def receipt_not_canonical(rows):
    rows[0]["document"] = json.dumps(json.loads(rows[0]["document"])).encode()
    return rows


@receipts_of
def receipt_of_anything(rows):
    rows[0]["document"] = b"[1]"
    return rows


@receipts_of
def receipt_without_fields(rows):
    rows[0]["document"] = b"{}"
    return rows


def journals_of(change):
    def tamper(ledger, digest):
        return ledger.rewrite(digest, JOURNALS, change(ledger.rows(digest, JOURNALS)))

    tamper.__name__ = change.__name__
    return tamper


@journals_of
def journal_dropped(rows):
    return rows[1:]


@journals_of
def settlement_dropped(rows):
    return rows[:-1]


@journals_of
def journal_too_many(rows):
    return [*rows, rows[-1] | {"number": rows[-1]["number"] + 1}]


@journals_of
def journals_out_of_order(rows):
    return [rows[1], rows[0], *rows[2:]]


@journals_of
def posting_moved(rows):
    """From one account to another in a settlement."""
    mine = [posting for posting in rows[-1]["postings"] if posting["book"].startswith("payable:")]
    mine[0]["amount"], mine[1]["amount"] = str(int(mine[0]["amount"]) + 1), str(int(mine[1]["amount"]) - 1)
    return rows


@journals_of
def posting_of_an_answer_moved(rows):
    rows[0]["postings"][0]["amount"] = str(int(rows[0]["postings"][0]["amount"]) + 1)
    return rows


@journals_of
def posting_of_no_number(rows):
    rows[0]["postings"][0]["amount"] = "1e18"
    return rows


@journals_of
def posting_twice(rows):
    rows[0]["postings"].append(rows[0]["postings"][0])
    return rows


@journals_of
def payload_of_another(rows):
    rows[-1]["payload_sha256"] = "1" * 64
    return rows


@journals_of
def journal_of_another_kind(rows):
    rows[0]["kind"] = "deposit"
    return rows


def terms_of(**changes):
    def tamper(ledger, digest):
        return ledger.forge(digest, terms=ledger.manifest(digest)["terms"] | changes)

    return tamper


def settled_in_parts(ledger, digest):
    """As if a veto had come between, which would leave out what nets."""
    [run] = ledger.manifest(digest)["settlements"]
    middle = str(int(run["above"]) + 4)
    runs = [run | {"through": middle}, {"name": "2.2", "above": middle, "through": run["through"]}]
    return ledger.forge(digest, settlements=runs)


def settled_with_a_gap(ledger, digest):
    [run] = ledger.manifest(digest)["settlements"]
    return ledger.forge(digest, settlements=[run | {"above": str(int(run["above"]) - 1)}])


def previous_hash(ledger, digest):
    """Of a bundle that there is, and is another."""
    return ledger.forge(digest, previous=ledger.manifest(digest)["previous"] | {"bundle": digest})


def previous_with(**changes):
    return lambda ledger, digest: ledger.forge(digest, previous=ledger.manifest(digest)["previous"] | changes)


def another(**changes):
    return lambda ledger, digest: ledger.forge(digest, **changes)


TAMPERINGS = {
    leaf_raised: {"leaves"},
    leaf_raised_and_had_before: {"previous"},
    leaf_dropped: {"leaves"},
    leaf_twice: {"leaves"},
    root_of_others: {"root"},
    total_raised: {"root"},
    log_root_of_others: {"log_root"},
    receipt_changed: {"signatures", "journals"},
    receipt_signed_again: {"journals", "leaves"},
    receipt_split_otherwise: {"shares"},
    receipt_dropped: {"journals", "leaves", "terms"},
    receipt_twice: {"terms", "signatures", "shares"},
    receipt_of_an_epoch_before: {"once"},
    receipts_out_of_order: {"terms", "signatures", "shares", "journals"},
    receipt_not_canonical: {"signatures"},
    receipt_of_anything: {"terms"},
    receipt_without_fields: {"terms"},
    journal_dropped: {"journals"},
    settlement_dropped: {"journals"},
    journal_too_many: {"journals"},
    journals_out_of_order: {"journals"},
    posting_moved: {"journals"},
    posting_of_an_answer_moved: {"journals"},
    posting_of_no_number: {"journals"},
    posting_twice: {"journals"},
    payload_of_another: {"journals"},
    journal_of_another_kind: {"journals"},
    settled_in_parts: {"journals"},
    settled_with_a_gap: {"previous"},
    previous_hash: {"previous"},
}
PARAMETERS = {
    "rule": (terms_of(rules=[Rule().to_json()]), "terms"),
    "platform": (terms_of(platforms=["0x" + "1" * 40]), "terms"),
    "signer": (terms_of(signers=["0x" + "1" * 40]), "terms"),
    "chain": (another(chain_id="1"), "root"),
    "distributor": (another(distributor="0x" + "1" * 40), "root"),
    "epoch": (another(epoch="3"), "terms"),
    "version": (another(version="openledger.epoch.v3"), "files"),
    "field": (another(more="1"), "files"),
    "number": (another(total=7), "files"),
    "previous missing": (previous_with(bundle="1" * 64), "previous"),
    "previous unnamed": (previous_with(bundle=""), "previous"),
    "previous root": (previous_with(root="1" * 64), "previous"),
    "no previous": (another(previous=None), "previous"),
    "no settlement": (another(settlements=[]), "terms"),
}
