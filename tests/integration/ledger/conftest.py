"""A chain for each module, a ledger on files of its own for each test."""

from __future__ import annotations

import pytest

from openledger.client import Wallet
from services.kit import logs
from services.kit.testing import as_wallet
from tests import chains
from tests.ledger_world import FUNDED, Attribution, World, attribution_served


@pytest.fixture(autouse=True, scope="module")
def _logs():
    """As a running service writes them: what structlog does by default takes longer than the tests."""
    logs.configure("warning")


@pytest.fixture(scope="module")
def chain_url(tmp_path_factory):
    with chains.devchain(tmp_path_factory.mktemp("chain"), *FUNDED) as url:
        yield url


@pytest.fixture
async def world(chain_url, tmp_path):
    servicer = Attribution()
    async with attribution_served(servicer) as address:
        yield World(tmp_path, chain_url, servicer, address)


@pytest.fixture
async def where(world):
    """A running ledger's host:port."""
    async with world.run() as address:
        yield address


@pytest.fixture
def payer():
    return Wallet.create()


@pytest.fixture
async def client(where, payer):
    """The payer's."""
    async with as_wallet(payer, ledger=where) as found:
        yield found
