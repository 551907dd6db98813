"""An epoch that holds, and every way of tampering with it: each is found, and said in words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from openledger import canonical, merkle, receipt, split
from openledger.artifacts import ArtifactStore
from openledger.claims import ClaimTree
from openledger.epoch.verify import verify_epoch
from openledger.receipt import Model
from openledger.split import NAT, Rule
from tests.epoch_world import AT, CHAIN_ID, PAYER, Ledger, failed
from tests.ledger_world import EARNERS, PLATFORM, SIGNER, a_receipt

RECEIPTS, JOURNALS, LEAVES = "receipts.parquet", "journals.parquet", "leaves.parquet"
CHECKS = ["files", "terms", "signatures", "shares", "journals", "leaves", "previous", "root", "log_root"]
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


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two closed epochs, and their bundles' digests."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    other = Model("base", "b" * 64, "adapters/b/revisions/" + "e" * 64, "d" * 64)
    first = ledger.close(answered(), answered(flip=True))
    base = a_receipt(
        PAYER,
        "leases/1",
        FEE,
        model=Model("base", "b" * 64, "", ""),
        developer="",
        evidence=(alone := split.Evidence(NAT, NAT, {}, (), {})),
        shares=split.split_fee(FEE, FEE // 10, alone, Rule()),
    )
    second = ledger.close(
        *(answered(fee=FEE + n, flip=bool(n % 2)) for n in range(4)),
        answered(model=other),
        base,
        answered(rule=Rule(cap_bps=100)),
    )
    return ledger, first, second


def test_an_epoch_that_holds_says_what_was_checked(world):
    ledger, first, second = world
    for digest in (first, second):
        report = ledger.check(digest)
        assert report.ok, failed(report)
        assert [check.name for check in report.checks] == CHECKS
    words = {check.name: check.words for check in report.checks}
    assert "7 receipts" in words["signatures"]
    assert "9 journals" in words["journals"]
    assert "2 of them settlements" in words["journals"]
    assert "settled together in 4 groups" in words["shares"]
    assert f"bundle of epoch 1 gives them ({first})" in words["previous"]
    assert PLATFORM.address in words["terms"]


def test_netting_gives_others_than_the_provisional_shares(world):
    ledger, first, _ = world
    documents = [json.loads(row["document"]) for row in ledger.rows(first, RECEIPTS)]
    provisional = sum(int(document["shares"].get(FIRST, "0")) for document in documents)
    [final] = [int(row["cumulative"]) for row in ledger.rows(first, LEAVES) if row["account"] == FIRST] or [0]
    assert final < provisional


def test_an_epoch_that_was_vetoed_and_sealed_again_holds_and_pays_nothing_twice(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.give(answered(), answered(flip=True))
    vetoed = ledger.seal()
    ledger.bundle(vetoed)
    ledger.veto(vetoed)
    same = ledger.seal()
    assert (same.root, same.total, same.key) == (vetoed.root, vetoed.total, "1.2")
    ledger.veto(same)
    ledger.give(answered())
    again = ledger.seal()
    report = ledger.check(ledger.bundle(again))
    assert report.ok, failed(report)
    words = {check.name: check.words for check in report.checks}
    assert "in 3 settlements: it was sealed again" in words["terms"]
    assert (again.receipt_count, again.key) == (3, "1.3")
    assert again.total > same.total


def test_who_must_have_signed_can_be_said(world):
    ledger, first, _ = world
    assert ledger.check(first, signers=frozenset({SIGNER.address})).ok
    assert "whom you do not expect" in failed(ledger.check(first, signers=frozenset({"0x" + "1" * 40})))["terms"]


def test_without_the_bundle_before_it_must_be_said_that_it_is_not_looked_at(world, tmp_path):
    ledger, _, second = world
    copy = ArtifactStore(tmp_path)
    for digest in (second, *(file["sha256"] for file in ledger.manifest(second)["files"].values())):
        copy.put(ledger.artifacts.get(digest))
    assert failed(verify_epoch(tmp_path, second)).keys() == {"previous"}
    assert verify_epoch(tmp_path, second, alone=True).ok


# --- what is tampered with --------------------------------------------------------------------------------------------


def leaf_raised(ledger, digest):
    """One unit more for one account, and a root and total that fit."""
    rows = ledger.rows(digest, LEAVES)
    rows[2]["cumulative"] = str(int(rows[2]["cumulative"]) + 1)
    tree = ClaimTree.build(CHAIN_ID, AT, {row["account"]: int(row["cumulative"]) for row in rows})
    return ledger.rewrite(digest, LEAVES, rows, root=tree.root.hex(), total=str(tree.total))


def leaf_raised_and_had_before(ledger, digest):
    """The same, said to have been there before, with another root of before."""
    rows = ledger.rows(digest, LEAVES)
    for key in ("before", "cumulative"):
        rows[2][key] = str(int(rows[2][key]) + 1)
    tree = ClaimTree.build(CHAIN_ID, AT, {row["account"]: int(row["cumulative"]) for row in rows})
    was = ClaimTree.build(CHAIN_ID, AT, {row["account"]: int(row["before"]) for row in rows if row["before"] != "0"})
    previous = ledger.manifest(digest)["previous"] | {"root": was.root.hex()}
    return ledger.rewrite(digest, LEAVES, rows, root=tree.root.hex(), total=str(tree.total), previous=previous)


def leaf_dropped(ledger, digest):
    rows = ledger.rows(digest, LEAVES)[1:]
    tree = ClaimTree.build(CHAIN_ID, AT, {row["account"]: int(row["cumulative"]) for row in rows})
    return ledger.rewrite(digest, LEAVES, rows, root=tree.root.hex(), total=str(tree.total))


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


def previous_missing(ledger, digest):
    return ledger.forge(digest, previous=ledger.manifest(digest)["previous"] | {"bundle": "1" * 64})


def previous_unnamed(ledger, digest):
    return ledger.forge(digest, previous=ledger.manifest(digest)["previous"] | {"bundle": ""})


def previous_forgotten(ledger, digest):
    return ledger.forge(digest, previous=None)


def previous_root(ledger, digest):
    return ledger.forge(digest, previous=ledger.manifest(digest)["previous"] | {"root": "1" * 64})


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
    previous_missing: {"previous"},
    previous_unnamed: {"previous"},
    previous_forgotten: {"previous"},
    previous_root: {"previous"},
}
PARAMETERS = {
    "rule": (terms_of(rules=[Rule().to_json()]), "terms"),
    "platform": (terms_of(platforms=["0x" + "1" * 40]), "terms"),
    "signer": (terms_of(signers=["0x" + "1" * 40]), "terms"),
    "chain": (another(chain_id="1"), "root"),
    "distributor": (another(distributor="0x" + "1" * 40), "root"),
    "epoch": (another(epoch="3"), "terms"),
    "version": (another(version="openledger.epoch.v1"), "files"),
    "field": (another(more="1"), "files"),
    "number": (another(total=7), "files"),
    "no settlement": (another(settlements=[]), "terms"),
}


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_whoever_changes_an_epoch_and_names_the_new_bytes_is_found(world, tamper):
    ledger, _, second = world
    report = ledger.check(tamper(ledger, second))
    assert not report.ok
    assert TAMPERINGS[tamper] & failed(report).keys(), report


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_changed_parameter_is_found(world, name):
    ledger, _, second = world
    tamper, check = PARAMETERS[name]
    report = ledger.check(tamper(ledger, second))
    assert check in failed(report), report


@pytest.mark.parametrize("name", ("manifest", RECEIPTS, JOURNALS, LEAVES))
@pytest.mark.parametrize("place", (0, 0.3, 0.7, -1))
def test_one_byte_of_any_file_is_found(world, tmp_path, name, place):
    ledger, _, second = world
    files = {name: file["sha256"] for name, file in ledger.manifest(second)["files"].items()} | {"manifest": second}
    for digest in files.values():
        ArtifactStore(tmp_path).put(ledger.artifacts.get(digest))
    damaged = tmp_path / "sha256" / files[name][:2] / files[name]
    damaged.chmod(0o644)
    data = bytearray(damaged.read_bytes())
    data[int(place * len(data)) if place > 0 else place] ^= 1
    damaged.write_bytes(data)
    report = verify_epoch(tmp_path, second, alone=True)
    assert "another SHA-256" in failed(report)["files"]
    assert {check.ok for check in report.checks[1:]} == {None}


@pytest.mark.parametrize("data", (b"", b"no table", b"PAR1" * 10))
def test_a_table_that_is_none_is_said_to_be_none(world, data):
    ledger, _, second = world
    files = ledger.manifest(second)["files"]
    files[LEAVES] = {"sha256": ledger.artifacts.put(data), "rows": "1"}
    assert "no Parquet file" in failed(ledger.check(ledger.forge(second, files=files)))["files"]


def test_a_table_with_other_columns_or_rows_is_refused(world):
    ledger, _, second = world
    files = ledger.manifest(second)["files"]
    swapped = ledger.forge(second, files=files | {LEAVES: files[RECEIPTS]})
    assert "has the columns journal, document" in failed(ledger.check(swapped))["files"]
    counted = ledger.forge(second, files=files | {LEAVES: files[LEAVES] | {"rows": "99"}})
    assert "the manifest says 99" in failed(ledger.check(counted))["files"]


@pytest.mark.parametrize("data", (b"", b"{}", b"[" * 10**5, b'{"a": 1}', b"\xff"))
def test_what_is_no_manifest_is_said_to_be_none(world, data):
    ledger, *_ = world
    assert "is no manifest" in failed(ledger.check(ledger.artifacts.put(data)))["files"]


def test_a_bundle_that_is_not_there_is_said_not_to_be(tmp_path):
    assert "cannot be read" in failed(verify_epoch(tmp_path, "1" * 64))["files"]
