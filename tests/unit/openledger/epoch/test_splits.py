"""Every receipt of a bundle is by a split that held when its answer ended: who says otherwise is found."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openledger import canonical
from openledger.epoch.bundle import open_bundle
from openledger.epoch.splits import MOST_LAG, used
from services.ledger import splits
from services.ledger.registries import Split
from tests.epoch_world import LAG, Ledger, failed
from tests.splits_world import FIRST, OWN, SECOND, A, B, answered

BEGIN = 1_700_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One epoch, with answers before the registration, after it, and after a change; and of another revision."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    ledger.hold(A, FIRST, BEGIN)
    ledger.hold(A, SECOND, BEGIN + 10_000)
    digest = ledger.close(
        answered(A, OWN, BEGIN - 5_000),
        answered(A, FIRST, BEGIN + 5),
        answered(A, FIRST, BEGIN + 10_000 + LAG - 1),
        answered(A, SECOND, BEGIN + 20_000),
        answered(B, OWN, BEGIN + 20_000),
        answered("", OWN, BEGIN + 20_000),
    )
    return ledger, digest


def held(ledger, digest, **changes):
    """The manifest's splits with changes."""
    return ledger.forge(digest, splits=ledger.manifest(digest)["splits"] | changes)


def test_the_bundle_names_the_splits_that_were_used_with_their_transactions(world):
    ledger, digest = world
    report = ledger.check(digest)
    assert report.ok, failed(report)
    found = ledger.manifest(digest)["splits"]
    assert (found["lag"], found["registry"]) == (str(LAG), "0x" + "9" * 40)
    lines = sorted(found["held"], key=lambda line: (line["revision"], line["since"] is not None, str(line["since"])))
    assert [(line["revision"], line["developer_bps"], line["stakers_bps"], line["until"]) for line in lines] == [
        (A, 2000, 1000, str(BEGIN)),
        (A, 1500, 500, str(BEGIN + 10_000)),
        (A, 4000, 1000, None),
        (B, 2000, 1000, None),
    ]
    assert [line["since"] and int(line["since"]["time"]) - BEGIN for line in lines] == [None, 0, 10_000, None]
    assert lines[1]["since"] == {"time": str(BEGIN), "block": "1", "transaction": f"0x{1000:064x}"}
    uses = used(open_bundle(ledger.artifacts.root, digest))
    assert sorted(use.receipts for use in uses) == [1, 1, 1, 2]


def of_before(ledger, digest):
    """As a version without splits would have written it."""
    old = ledger.manifest(digest) | {"version": "openledger.epoch.v4"}
    del old["splits"]
    return ledger.artifacts.put(canonical.dumps(old))


def changed_line(which, **changes):
    def tamper(ledger, digest):
        lines = ledger.manifest(digest)["splits"]["held"]
        return held(ledger, digest, held=[line | changes if which(line) else line for line in lines])

    return tamper


def first(line):
    return line["developer_bps"] == 1500


def second(line):
    return line["developer_bps"] == 4000


def since(begin):
    return {"time": str(begin), "block": "1", "transaction": "0x" + "1" * 64}


WRONG = {
    "a line less": lambda ledger, digest: held(
        ledger, digest, held=[line for line in ledger.manifest(digest)["splits"]["held"] if not second(line)]
    ),
    "another split": changed_line(first, developer_bps=1501),
    "begins later": changed_line(first, since=since(BEGIN + 5 + LAG + 1)),
    "ended before": changed_line(first, until=str(BEGIN + 9_998)),
    "one that begins before the last answer of the other": changed_line(second, since=since(BEGIN + 9_998)),
    "more than half": changed_line(second, developer_bps=4001),
    "less than nothing": changed_line(second, stakers_bps=-1),
    "ends before it begins": changed_line(second, until=str(BEGIN)),
    "no lag": lambda ledger, digest: held(ledger, digest, lag="0"),
    "a lag in which any split is right": lambda ledger, digest: held(ledger, digest, lag=str(MOST_LAG + 1)),
    "none, as bundles of before": of_before,
}
NO_FORM = {
    "no splits": lambda ledger, digest: ledger.forge(digest, splits=None),
    "v4 with splits": lambda ledger, digest: ledger.forge(digest, version="openledger.epoch.v4"),
    "a number": changed_line(first, until=5),
    "a text": changed_line(first, developer_bps="1500"),
    "no transaction": changed_line(first, since={"time": "1", "block": "1"}),
    "one more field": changed_line(first, more=1),
}


@pytest.mark.parametrize("name", WRONG)
def test_whoever_names_other_splits_is_found(world, name):
    ledger, digest = world
    report = ledger.check(WRONG[name](ledger, digest))
    assert failed(report).keys() == {"splits"}, report


@pytest.mark.parametrize("name", NO_FORM)
def test_a_manifest_has_one_form(world, name):
    ledger, digest = world
    assert "files" in failed(ledger.check(NO_FORM[name](ledger, digest)))


def test_a_bundle_of_before_has_no_splits_and_holds(tmp_path):
    ledger = Ledger(tmp_path)
    before = of_before(ledger, ledger.close(answered(A, OWN, None), answered("", OWN, None)))
    report = ledger.check(before)
    assert report.ok, failed(report)
    ledger.database.close()


@pytest.mark.parametrize("change", ("another registry", "as before there were any"))
def test_what_follows_a_bundle_has_splits_by_the_same_registry(tmp_path, change):
    ledger = Ledger(tmp_path)
    ledger.close(answered("", OWN, BEGIN))
    digest = ledger.close(answered("", OWN, None))
    assert ledger.check(digest).ok
    other = "0x" + "8" * 40
    changed = held(ledger, digest, registry=other) if change == "another registry" else of_before(ledger, digest)
    assert failed(ledger.check(changed)).keys() == {"previous"}
    assert "the registry of epoch 1" in failed(ledger.check(changed))["previous"]
    ledger.database.close()


@pytest.mark.parametrize(("lag", "told"), ((LAG, ""), (7 * 86_400, f"; the lag is 604800 s, and was {LAG} s there")))
def test_another_lag_than_in_the_epoch_before_is_told(tmp_path, lag, told):
    """It may be right, and it may be there for the sake of one receipt: people judge."""
    ledger = Ledger(tmp_path)
    ledger.close(answered("", OWN, BEGIN))
    ledger.bundles._lag = lag
    report = ledger.check(ledger.close(answered("", OWN, BEGIN)))
    [words] = [check.words for check in report.checks if check.name == "previous"]
    assert (report.ok, words.endswith("and no leaf is lower" + told)) == (True, True), words
    ledger.database.close()


def test_a_receipt_that_does_not_say_its_time_is_by_no_registered_split(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.hold(A, FIRST, BEGIN)
    digest = ledger.close(answered(A, OWN, None))
    assert "; 1 do not say when" in next(check.words for check in ledger.check(digest).checks if check.name == "splits")
    digest = ledger.close(answered(A, FIRST, None), answered(A, FIRST, BEGIN))
    lines = [line | {"since": since(BEGIN)} for line in ledger.manifest(digest)["splits"]["held"]]
    assert failed(ledger.check(held(ledger, digest, held=lines[:1]))).keys() == {"splits"}
    ledger.database.close()


def test_a_receipt_that_the_chain_left_behind_is_found(tmp_path):
    """Its split held when it was booked, and then the chain took the change back for good."""
    ledger = Ledger(tmp_path)
    ledger.hold(A, FIRST, BEGIN)
    report = ledger.check(ledger.close(answered(A, SECOND, BEGIN + LAG), answered(A, FIRST, BEGIN + LAG)))
    assert failed(report).keys() == {"splits"}
    assert "no split that is named held so" in failed(report)["splits"]
    ledger.database.close()


CHANGES = st.lists(st.tuples(st.integers(1, 2 * LAG), st.sampled_from((OWN, FIRST, SECOND))), max_size=5)
ASKED = st.lists(
    st.tuples(st.sampled_from((A, B)), st.integers(-LAG, 10 * LAG), st.integers(0, 3)), min_size=1, max_size=8
)


@settings(max_examples=40)
@given(CHANGES, ASKED)
def test_what_the_ledger_admits_the_second_implementation_takes_and_nothing_else(changes, asked):
    """By a split that the ledger's own code allows at that time; beside it, one that it does not."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        at, told = BEGIN, []
        for step, split in changes:
            at += step
            told.append(ledger.hold(A, split, at))
        history = {
            A: splits.history([splits.Change(t.split, t.time, t.block_number, t.tx_hash) for t in told]),
            B: splits.UNREGISTERED,
        }
        receipts, wrong = [], []
        for revision, ended, which in asked:
            allowed = splits.allowed(history[revision], BEGIN + ended, LAG)
            one = allowed[which % len(allowed)]
            receipts.append(answered(revision, one.since.split if one.since else OWN, BEGIN + ended))
            parts = {one.since.split if one.since else None for one in allowed}
            wrong += [
                answered(revision, other, BEGIN + ended)
                for other in (FIRST, SECOND, Split(7, 7))
                if None not in parts and other not in parts
            ]
        epoch = ledger.close(*receipts)
        assert ledger.check(epoch).ok, failed(ledger.check(epoch))
        for one in wrong[:2]:
            assert failed(ledger.check(ledger.close(one))).keys() >= {"splits"}, (history, one)
        ledger.database.close()
