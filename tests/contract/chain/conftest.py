"""A chain of each kind, and a contract set of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ledger.chain_node import Node
from services.ledger.chain_quorum import Quorum
from services.ledger.chain_rpc import RpcChain
from services.ledger.deploy import deploy
from tests import chains
from tests.chains import CHAIN_ID, OPERATOR, STRANGER, TERMS
from tests.needs import require

ANVIL = (pytest.param(name, marks=pytest.mark.needs("anvil")) for name in ("anvil", "anvil, witnessed"))


@pytest.fixture(params=("devchain", *ANVIL), scope="module")
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
def chain(node: Node, url: str, tmp_path: Path, request: pytest.FixtureRequest) -> RpcChain:
    """A contract set of the test's own; witnessed, it is asked of two nodes, which here are one."""
    found = RpcChain(node, deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json"))
    return Quorum.connect_all(found, [url]) if "witnessed" in request.node.callspec.params["url"] else found
