"""The bundle as it is written; whether it is true is `openledger.epoch`'s to say (tests/unit/openledger/epoch)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.artifacts import ArtifactStore
from services.ledger.store import epochs
from tests.epoch_world import PAYER, Ledger, failed
from tests.ledger_world import a_receipt

FEE = 10**18


def answers(count: int):
    return [a_receipt(PAYER, "leases/1", FEE + number) for number in range(count)]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def test_the_same_journals_give_the_same_bytes(ledger, tmp_path):
    ledger.give(*answers(3))
    epoch = ledger.seal()
    first = ledger.bundle(epoch)
    ledger.artifacts = ledger.bundles._artifacts = ArtifactStore(tmp_path / "elsewhere")
    assert ledger.bundle(epoch) == first
    assert ledger.check(first).ok


def test_rows_are_written_and_read_in_pieces(ledger, monkeypatch):
    monkeypatch.setattr("services.ledger.bundle._PIECE", 2)
    digest = ledger.close(*answers(5))
    assert ledger.manifest(digest)["files"]["receipts.parquet"]["rows"] == "5"
    assert ledger.check(digest).ok


def test_what_was_broken_off_is_written_again(ledger, monkeypatch):
    ledger.give(*answers(2))
    epoch = ledger.seal()

    class PowerCut(Exception):
        pass

    def cut(*_):
        raise PowerCut

    for step in ("put_file", "put"):
        with monkeypatch.context() as patched:
            patched.setattr(ArtifactStore, step, cut)
            with pytest.raises(PowerCut):
                ledger.bundle(epoch)
        assert ledger.database.read_now(lambda c: epochs.get(c, 1)).bundle is None
    assert ledger.check(ledger.bundle(epoch)).ok
    assert not any(ledger.folder.joinpath("work").iterdir())


def test_one_that_lost_its_turn_and_still_writes_disturbs_nobody(ledger, monkeypatch):
    ledger.give(*answers(2))
    epoch, real, others = ledger.seal(), ArtifactStore.put_file, []

    def put_file(store, place):
        if not others:
            others.append("begun")
            others.append(ledger.database.read_now(lambda c: ledger.bundles.write(c, epoch)))
        return real(store, place)

    monkeypatch.setattr(ArtifactStore, "put_file", put_file)
    assert ledger.bundle(epoch) == others[1]


async def test_a_published_bundle_is_not_written_again_unless_it_is_gone(ledger, monkeypatch):
    ledger.give(*answers(1))
    epoch, pen = ledger.seal(), ledger.pen()
    digest = await ledger.bundles.publish(epoch, pen)
    stored = ledger.database.read_now(lambda c: epochs.get(c, 1))
    assert stored.bundle == digest
    with monkeypatch.context() as patched:
        patched.setattr(type(ledger.bundles), "write", lambda *_: pytest.fail("written again"))
        assert await ledger.bundles.publish(stored, pen) == digest
    ledger.artifacts._place(digest).unlink()
    assert await ledger.bundles.publish(stored, pen) == digest
    assert ledger.artifacts.has(digest)


def test_an_epoch_that_was_sealed_without_settlements_has_a_bundle_that_does_not_hold(ledger):
    """As a version before this one may have left it: it goes on, and shows that nothing proves it."""
    ledger.give(*answers(1))
    epoch = replace(ledger.seal(), number=2)
    ledger.write(lambda c: epochs.store(c, epoch, {"0x" + "1" * 40: 5}))
    report = ledger.check(ledger.bundle(epoch))
    assert "no settlement" in failed(report)["terms"]
