"""An epoch that holds, and every way of tampering with it: each is found, and said in words."""

from __future__ import annotations

import json

import pytest

from openledger import canonical, signed_document, split
from openledger.artifacts import ArtifactStore
from openledger.epoch import bundle
from openledger.epoch.verify import verify_epoch
from openledger.receipt import Model
from openledger.split import NAT, Rule
from tests.epoch_tampering import FEE, FIRST, JOURNALS, LEAVES, PARAMETERS, RECEIPTS, TAMPERINGS, answered
from tests.epoch_world import PAYER, Ledger, failed
from tests.ledger_world import PLATFORM, SIGNER, a_receipt

ENDED = "2026-01-02T03:04:06.000000Z"
CHECKS = [
    "files", "terms", "splits", "signatures", "corrections", "shares", "journals", "leaves", "previous", "once",
    "root", "log_root",
]  # fmt: skip


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
    assert words["once"].endswith("none of 7 answers was settled before, in epoch 1")
    assert PLATFORM.address in words["terms"]


def test_how_many_answers_are_private_is_said(tmp_path):
    ledger = Ledger(tmp_path)
    some = [a_receipt(PAYER, "leases/1", FEE, end_time=ENDED, published=published) for published in (True, False)]
    report = ledger.check(ledger.close(*some, answered()))
    assert report.ok, failed(report)
    words = {check.name: check.words for check in report.checks}
    assert (
        "3 receipts are in canonical form and signed, each of another answer; of 1 of them only" in words["signatures"]
    )


@pytest.mark.parametrize(
    ("receipt", "changes"),
    (
        ({}, {"published": False}),
        ({}, {"published": True}),
        ({"end_time": ENDED}, {"published": None}),
        ({"end_time": ENDED}, {"published": 0}),
        ({"end_time": ENDED}, {"published": "false"}),
        ({"end_time": ENDED}, {"version": "openledger.receipt.v4"}),
        ({"end_time": ENDED, "published": False}, {"version": "openledger.receipt.v7"}),
    ),
)
def test_a_receipt_that_says_otherwise_than_its_version_who_may_have_the_trace_is_found(tmp_path, receipt, changes):
    """Or a provider could have answers looked at by nobody that no ledger would have booked so."""
    ledger = Ledger(tmp_path)
    digest = ledger.close(a_receipt(PAYER, "leases/1", FEE, **receipt))
    (row,) = ledger.rows(digest, RECEIPTS)
    document = signed_document.sign(json.loads(row["document"]) | changes, SIGNER.private_key)
    forged = ledger.rewrite(digest, RECEIPTS, [row | {"document": canonical.dumps(document)}])
    assert "whether its trace is published" in failed(ledger.check(forged))["signatures"]


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


def test_what_is_too_large_for_a_manifest_is_not_read_into_memory(world, monkeypatch):
    ledger, _, second = world
    monkeypatch.setattr(bundle, "MOST_BYTES", len(ledger.artifacts.get(second)))
    assert ledger.check(second).ok
    monkeypatch.setattr(bundle, "MOST_BYTES", len(ledger.artifacts.get(second)) - 1)
    assert "is no manifest of an epoch: it has more than" in failed(ledger.check(second))["files"]


def test_a_bundle_that_is_not_there_is_said_not_to_be(tmp_path):
    assert "cannot be read" in failed(verify_epoch(tmp_path, "1" * 64))["files"]
