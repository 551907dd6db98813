"""How long ago chain and receipts were read is measured by the database, on both: no restart, no standby hides it."""

from __future__ import annotations

import math
import time

import pytest

from services.kit.metrics import Metrics
from services.ledger.read_ago import ReadAgo
from services.ledger.store import receipts_read
from tests.epoch_world import AT, Ledger


@pytest.fixture
def ledger(database_url, tmp_path):
    found = Ledger(tmp_path, database_url)
    yield found
    found.database.close()


def told(metrics: Metrics, name: str) -> float:
    found = metrics.registry.get_sample_value(f"openledger_ledger_{name}")
    assert found is not None
    return found


async def test_a_ledger_that_was_just_started_tells_how_long_ago_the_chain_was_read(ledger):
    ledger.read_chain(time.time() - 5_000)
    metrics = Metrics("ledger")
    age = ReadAgo(ledger.database, AT, metrics, lag=600)
    assert told(metrics, "chain_read_within_seconds") == 300
    assert told(metrics, "chain_read_ago_seconds") == math.inf
    await age.step()
    assert 5_000 <= told(metrics, "chain_read_ago_seconds") < 5_100
    ledger.read_chain(time.time() + 5_000)  # by a clock that is ahead of this one: then nothing is known either
    await age.step()
    assert 4_900 < told(metrics, "chain_read_ago_seconds") <= 5_000
    ledger.read_chain(time.time())
    await age.step()
    assert told(metrics, "chain_read_ago_seconds") < 100


async def test_what_was_taken_back_and_not_read_again_is_not_known_at_all(ledger):
    metrics = Metrics("ledger")
    age = ReadAgo(ledger.database, AT, metrics, lag=600)
    ledger.read_chain(None)
    await age.step()
    assert told(metrics, "chain_read_ago_seconds") == math.inf
    other = Metrics("ledger")
    await ReadAgo(ledger.database, "0x" + "7" * 40, other, lag=600).step()
    assert told(other, "chain_read_ago_seconds") == math.inf


async def test_of_how_long_ago_all_receipts_were_read_is_told_by_every_ledger(ledger):
    metrics = Metrics("ledger")
    ago = ReadAgo(ledger.database, AT, metrics, lag=600)
    assert told(metrics, "receipts_read_ago_seconds") == math.inf
    await ago.step()
    assert told(metrics, "receipts_read_ago_seconds") < 100  # there are none
    for when in (-5_000, -4_000):
        ledger.write(lambda c, w=when: receipts_read.note(c, "log", time.time() + w))
        await ago.step()
        assert -when - 1 <= told(metrics, "receipts_read_ago_seconds") < -when + 100
    ledger.write(lambda c: receipts_read.end(c, "log"))
    await ago.step()
    assert told(metrics, "receipts_read_ago_seconds") < 100
