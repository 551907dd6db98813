"""A chain of each kind, and a contract set of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ledger.chain_node import Node
from services.ledger.chain_rpc import RpcChain
from services.ledger.deploy import deploy
from tests import chains
from tests.chains import CHAIN_ID, OPERATOR, STRANGER, TERMS
from tests.needs import require


@pytest.fixture(params=("devchain", pytest.param("anvil", marks=pytest.mark.needs("anvil"))), scope="module")
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chain for the whole module. Module fixtures are made before the `needs` mark is looked at: so ask here too."""
    if request.param == "devchain":
        with chains.devchain(tmp_path_factory.mktemp("chain"), OPERATOR.address, STRANGER.address) as found:
            yield found
    else:
        require("anvil")
        with chains.anvil(OPERATOR.address, STRANGER.address) as found:
            yield found


@pytest.fixture
def node(url: str) -> Node:
    return Node.connect(url, CHAIN_ID)


@pytest.fixture
def chain(node: Node, tmp_path: Path) -> RpcChain:
    """A contract set of the test's own."""
    return RpcChain(node, deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json"))
