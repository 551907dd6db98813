"""What the ledger has published stays admissible, on both databases: a new rule loses no receipt on its way."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import select

import services.ledger
from openledger.client import Wallet
from openledger.split import Rule
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.kit.testing import as_service
from services.ledger.admit import Terms
from services.ledger.consume import SOURCE, Receipts
from services.ledger.debts import Debts
from services.ledger.pen import Pen
from services.ledger.split_book import SplitBook
from services.ledger.store import chain, terms
from services.ledger.store.tables import PUBLISHED_TERMS, REJECTED
from tests.epoch_world import AT
from tests.intake_world import HOW
from tests.ledger_world import PLATFORM, SIGNER, Attribution, a_receipt, attribution_served

OLD, NEW, NEVER = Rule(cap_bps=100), Rule(), Rule(cap_bps=101)
PAYER = Wallet("0x" + "77" * 32)


@pytest.fixture
def database(database_url):
    found = Database(database_url)
    found.migrate(Path(services.ledger.__file__).parent / "migrations")
    yield found
    found.close()


def publish(database, rule, platform=PLATFORM.address):
    database.write_now(lambda c: terms.publish(c, rule, platform, SOURCE))


def test_terms_are_kept_once_and_in_their_order(database):
    for rule in (OLD, OLD, NEW, OLD):
        publish(database, rule)
    publish(database, OLD, SIGNER.address)
    rows = database.read_now(lambda c: c.execute(select(PUBLISHED_TERMS).order_by(PUBLISHED_TERMS.c.number)).all())
    assert [row.rule_sha256 for row in rows] == [rule.digest() for rule in (OLD, NEW, OLD, OLD)]
    assert database.read_now(terms.published) == {
        (OLD, PLATFORM.address),
        (NEW, PLATFORM.address),
        (OLD, SIGNER.address),
    }


def by(rule):
    return a_receipt(PAYER, "leases/1", 10**18, rule=rule)


async def test_receipts_that_were_on_their_way_when_the_rule_changed_are_not_rejected_for_it(database):
    publish(database, OLD)
    attribution = Attribution()
    attribution.give(by(OLD), by(NEW), by(NEVER))
    publish(database, NEW)
    in_force = Terms(frozenset({SIGNER.address}), NEW, PLATFORM.address)
    async with attribution_served(attribution) as where, as_service("ledger", attribution=where) as client:
        metrics = Metrics("ledger")
        pen = Pen(database, SIGNER.address, "one", metrics, seconds=60)
        assert pen.take()
        database.write_now(lambda c: (chain.follow(c, AT, 1, "0x1"), chain.note_read_time(c, AT, int(time.time()))))
        splits = SplitBook(database, AT, NEW, lag=3600)
        receipts = Receipts(database, client, in_force, metrics, pen, Debts(database, metrics), splits, **HOW)
        assert await receipts.step() == 3
    found = database.read_now(lambda c: c.execute(select(REJECTED.c.sha256, REJECTED.c.reason)).all())
    # There is no such lease here: that is what is found wrong with the first two, and nothing else.
    assert sorted(row.reason for row in found) == ["UNKNOWN_LEASE", "UNKNOWN_LEASE", "WRONG_RULE"]
    rows = database.read_now(lambda c: c.execute(select(PUBLISHED_TERMS.c.receipts_read)).all())
    publish(database, OLD)
    assert [row.receipts_read for row in rows] == [0, 0]
    newest = select(PUBLISHED_TERMS.c.receipts_read).order_by(PUBLISHED_TERMS.c.number.desc())
    assert database.read_now(lambda c: c.execute(newest).scalar()) == 3
