"""Prometheus over services that run: every series and rule is there, and an alert fires when its cause is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
from sqlalchemy import Connection, update

from openledger.client import Wallet
from services.attribution.__main__ import assemble as attribution
from services.datanet.__main__ import assemble as datanet
from services.datanet.config import DatanetConfig
from services.kit.database import Database
from services.kit.testing import served, settings
from services.ledger import journal
from services.ledger.check import check
from services.ledger.store import examine
from services.ledger.store.tables import BALANCE
from tests import attribution_world, chains, prometheus
from tests.ledger_world import FUNDED, OPEN, Attribution, World, attribution_served, pay_in
from tests.needs import needs
from tests.ports import six_free_ports
from tests.prometheus import Prometheus, until
from tests.unit.test_metrics_page import code

pytestmark = needs("prometheus")
SERVICES = ("ledger", "datanet", "attribution")


@pytest.fixture(scope="module")
def chain_url(tmp_path_factory) -> Iterator[str]:
    with chains.devchain(tmp_path_factory.mktemp("chain"), *FUNDED) as url:
        yield url


@pytest.fixture
def at() -> dict[str, str]:
    """Where each service's metrics are, and Prometheus."""
    first = six_free_ports()
    return {name: f"127.0.0.1:{first + number}" for number, name in enumerate((*SERVICES, "prometheus"))}


@pytest.fixture
async def world(chain_url, at, tmp_path) -> AsyncIterator[World]:
    receipts = Attribution()
    async with attribution_served(receipts) as address:
        more = {"metrics_listen": at["ledger"], "check_seconds": 0.5}
        yield World(tmp_path, chain_url, receipts, address, more)


@pytest.fixture
async def services(world, at, tmp_path) -> AsyncIterator[str]:
    """A ledger, a Datanet, and an Attribution that run; gives the ledger's host:port."""
    artifacts = attribution_world.Artifacts.make(tmp_path / "made")
    async with world.run() as where, attribution_world.world(tmp_path / "peers", artifacts) as around:
        config = DatanetConfig(**settings("datanet", tmp_path, ledger=where, metrics_listen=at["datanet"]))
        watched = around.config(metrics_listen=at["attribution"])
        async with served(await datanet(config)), served(await attribution(watched)):
            yield where


def of_all_the_time(service: str) -> set[str]:
    """Series that a service has from its start on: of its metrics without labels."""
    ends = {"histogram": "_count", "counter": "", "gauge": ""}
    own = f"openledger_{service}_"
    return {row.name + ends[row.kind] for row in code() if row.name.startswith(own) and not row.labels}


async def test_what_runs_is_seen_and_wrong_books_are_told_of_until_they_are_mended(world, services, at, tmp_path):
    payer = Wallet.create()
    await pay_in(world, services, payer, OPEN)
    targets = [at[name] for name in SERVICES]
    with prometheus.running(tmp_path / "prometheus", int(at["prometheus"].rpartition(":")[2]), targets) as seen:
        await until(lambda: seen.query("up") == dict.fromkeys(targets, 1.0))
        await until(lambda: all(rule["health"] == "ok" for rule in seen.rules()))
        assert len(seen.rules()) == len(prometheus.rules())
        for service in SERVICES:
            assert of_all_the_time(service) - seen.names() == set(), service
        assert seen.firing() == set()
        await wrong_books(world, seen, payer.address)


async def wrong_books(world: World, seen: Prometheus, payer: str) -> None:
    with closing(Database(world.config().database)) as database:
        database.write_now(lambda c: spoil(c, payer))
        await until(lambda: "BooksWrong" in seen.firing())
        assert seen.query("openledger_ledger_books_wrong") == {world.more["metrics_listen"]: 1.0}
        database.write_now(examine.rebuild)
        assert database.read_now(check).ok
        await until(lambda: seen.firing() == set())


def spoil(connection: Connection, payer: str) -> None:
    """A book that holds what its postings do not say."""
    book = BALANCE.c.book == journal.payer(payer)
    assert connection.execute(update(BALANCE).where(book).values(credits=2 * OPEN)).rowcount == 1
