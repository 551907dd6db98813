"""Documents leave the database once they are in a bundle that pays, and never before; on both databases."""

from __future__ import annotations

import pytest

from services.ledger import retention
from services.ledger.retention import Retention
from services.ledger.store import settlements
from tests.epoch_tampering import answered
from tests.epoch_world import Ledger, failed


@pytest.fixture
def ledger(database_url, tmp_path):
    found = Ledger(tmp_path, database_url)
    yield found
    found.database.close()


def left(ledger) -> int:
    return len(ledger.database.read_now(lambda c: list(settlements.receipts(c, 0, 10**9))))


async def test_documents_go_when_their_epoch_is_over_for_long_enough(ledger, monkeypatch):
    monkeypatch.setattr(retention, "PIECE", 2)
    kept = Retention(ledger.database, ledger.artifacts, ledger.pen(), keep=2)
    assert await kept.step() == 0
    digests = [ledger.close(*(answered() for _ in range(count))) for count in (3, 1)]
    assert (await kept.step(), left(ledger)) == (0, 4)
    digests.append(ledger.close(answered()))
    assert (await kept.step(), left(ledger)) == (3, 2)
    assert (await kept.step(), left(ledger)) == (0, 2)
    for digest in digests:
        report = ledger.check(digest)
        assert report.ok, failed(report)
    ledger.give(answered())
    again = ledger.seal()
    assert ledger.check(ledger.bundle(again)).ok  # what is sealed next does not need them


async def test_documents_stay_while_their_bundle_is_not_there(ledger):
    kept = Retention(ledger.database, ledger.artifacts, ledger.pen(), keep=1)
    first = ledger.close(answered())
    ledger.close(answered())
    place = ledger.artifacts.path(ledger.manifest(first)["files"]["receipts.parquet"]["sha256"])
    there = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(there[:-1] + b"x")
    assert (await kept.step(), left(ledger)) == (0, 2)
    place.write_bytes(there)
    assert (await kept.step(), left(ledger)) == (1, 1)


async def test_documents_of_a_root_that_was_struck_stay_until_it_pays(ledger):
    kept = Retention(ledger.database, ledger.artifacts, ledger.pen(), keep=1)
    ledger.close(answered())
    ledger.give(answered())
    struck = ledger.seal()
    ledger.bundle(struck)
    ledger.veto(struck)
    assert (await kept.step(), left(ledger)) == (0, 2)
    ledger.give(answered())
    again = ledger.seal()
    assert ledger.check(ledger.bundle(again)).ok
    ledger.activate(again)
    assert (await kept.step(), left(ledger)) == (1, 2)
