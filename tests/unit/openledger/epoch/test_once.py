"""An answer is settled by one epoch: one that comes again in a later one is found, however many came between."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openledger.artifacts import ArtifactStore
from openledger.epoch.verify import verify_epoch
from tests.epoch_tampering import FEE, RECEIPTS, answered
from tests.epoch_world import Ledger, failed

EPOCHS, ANSWERS = 4, 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Epochs, each of so many answers; and their bundles' digests, oldest first."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    return ledger, [ledger.close(*(answered(FEE + n) for n in range(ANSWERS))) for _ in range(EPOCHS)]


def words(report):
    return {check.name: check.words for check in report.checks}["once"]


def test_a_receipt_that_is_paid_in_two_epochs_is_found_though_all_else_holds(tmp_path):
    """The operator's database has forgotten that it booked the receipt, and books it again."""
    ledger, one = Ledger(tmp_path), answered()
    ledger.close(one, answered())
    ledger.forget_answers()
    ledger.close(answered(), answered())
    report = ledger.check(ledger.close(one, answered()))
    assert failed(report).keys() == {"once"}
    assert f"{one.response} was settled in epoch 1 (journal 2), and is settled again in epoch 3" in words(report)


def forged(ledger, digests, swaps):
    """The last bundle of the chain, in which (epoch, place) have the receipt of another (epoch, place)."""
    tables = [ledger.rows(digest, RECEIPTS) for digest in digests]
    there = [[row["document"] for row in rows] for rows in tables]
    for (epoch, place), (other, at) in swaps.items():
        tables[epoch][place]["document"] = there[other][at]
    before = None
    for digest, rows in zip(digests, tables, strict=True):
        previous = ledger.manifest(digest)["previous"]
        named = {"previous": previous and previous | {"bundle": before}}
        before = ledger.rewrite(digest, RECEIPTS, rows, **named)
    return before, [[row["document"] for row in rows] for rows in tables]


PLACES = st.tuples(st.integers(0, EPOCHS - 1), st.integers(0, ANSWERS - 1))


@settings(max_examples=25)
@given(st.dictionaries(PLACES, PLACES, max_size=4))
def test_whatever_comes_again_in_the_last_epoch_is_found_and_nothing_else(world, swaps):
    ledger, digests = world
    last, tables = forged(ledger, digests, swaps)
    report = ledger.check(last)
    if len(set(tables[-1])) < ANSWERS:
        assert "more than one receipt" in failed(report)["signatures"]
        return
    before = {document for table in tables[:-1] for document in table}
    assert ("once" in failed(report)) == bool(before & set(tables[-1]))


def copied(ledger, folder, digests, *but):
    """The artifacts of these bundles, without those that are named."""
    for digest in digests:
        for each in (digest, *(file["sha256"] for file in ledger.manifest(digest)["files"].values())):
            if each not in but:
                ArtifactStore(folder).put(ledger.artifacts.get(each))
    return folder


@pytest.mark.parametrize("table", (False, True))
def test_where_a_bundle_is_missing_it_is_said_how_far_was_looked(world, tmp_path, table):
    ledger, digests = world
    missing = ledger.manifest(digests[0])["files"][RECEIPTS]["sha256"] if table else digests[0]
    report = verify_epoch(copied(ledger, tmp_path, digests, missing), digests[-1])
    assert report.unsettled, "whoever pays an answer twice withholds the bundle that shows it"
    assert "none of 2 answers was settled before, in epochs 3 back to 2; epoch 1 and those before it could" in words(
        report
    )
    assert missing in words(report)


def test_a_damaged_bundle_of_before_is_no_fault_of_this_epochs_and_is_said(world, tmp_path):
    ledger, digests = world
    damaged = ledger.manifest(digests[1])["files"][RECEIPTS]["sha256"]
    place = copied(ledger, tmp_path, digests) / "sha256" / damaged[:2] / damaged
    place.chmod(0o644)
    place.write_bytes(b"something else")
    report = verify_epoch(tmp_path, digests[-1])
    assert report.unsettled, failed(report)
    assert "in epoch 3; epoch 2 and those before it could not be looked at" in words(report)


def test_alone_it_is_said_that_nothing_was_looked_at(world):
    ledger, digests = world
    assert words(ledger.check(digests[-1], alone=True)) == "whether an answer was settled before was not looked at"


def test_the_first_epoch_has_none_before(world):
    ledger, digests = world
    assert words(ledger.check(digests[0])) == "2 answers were compared with no epoch before"


def third_names(ledger, digests, bundle):
    """The last epoch, after a third one that names another bundle as the one before it."""
    third = ledger.forge(digests[2], previous=ledger.manifest(digests[2])["previous"] | {"bundle": bundle})
    return ledger.forge(digests[3], previous=ledger.manifest(digests[3])["previous"] | {"bundle": third})


def test_an_epoch_of_before_that_skips_one_is_found(world):
    ledger, digests = world
    report = ledger.check(third_names(ledger, digests, digests[0]))
    assert "is not of epoch 2, as epoch 3 says" in failed(report)["once"]


def test_an_epoch_of_before_that_names_none_is_said(world):
    ledger, digests = world
    report = ledger.check(third_names(ledger, digests, ""))
    assert report.unsettled
    told = words(report)
    assert told.endswith(
        "in epoch 3; epoch 2 and those before it could not be looked at: epoch 3 names no bundle of it"
    )


def test_an_epoch_of_before_without_settlements_is_said(world):
    """As of versions that had none: what was answered then is in no bundle."""
    ledger, digests = world
    report = ledger.check(third_names(ledger, digests, ledger.forge(digests[1], settlements=[])))
    assert report.unsettled
    told = words(report)
    assert told.endswith("could not be looked at: its bundle names no settlement")


def test_a_chain_of_bundles_that_ends_before_the_first_epoch_is_said(world):
    """The third says that there was none before it."""
    ledger, digests = world
    third = ledger.forge(digests[2], previous=None)
    report = ledger.check(
        ledger.forge(digests[3], previous=ledger.manifest(digests[3])["previous"] | {"bundle": third})
    )
    assert report.unsettled
    assert words(report).endswith("epoch 2 and those before it could not be looked at: none is named")
