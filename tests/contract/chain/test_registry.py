"""Snapshots compared with a real registry on a chain of each kind: what `openledger verify ... --rpc` does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from openledger.cli.main import app
from openledger.cli.registry import on_chain
from openledger.cli.rpc import Rpc, RpcError
from services.ledger import calls
from tests.chains import send
from tests.snapshot_samples import Log


@dataclass
class Anchored:
    """A log whose first three snapshots are on chain, under a name of the test's own contracts."""

    rpc: Rpc
    registry: str
    log: Log


@pytest.fixture
def anchored(chain, url) -> Anchored:
    log = Log()
    for number in (1, 2, 3):
        entry = log.entry(number)
        send(
            chain,
            calls.commit_snapshot(
                chain.contracts, entry.datanet, number, bytes.fromhex(entry.root), entry.record_count, ""
            ),
        )
    return Anchored(Rpc(url), chain.contracts.registry, log)


def test_roots_are_compared_with_the_chains(anchored):
    one, three, four = (anchored.log.entry(number) for number in (1, 3, 4))
    words = on_chain(anchored.rpc, anchored.registry, [one, three])
    assert f"holds the root of {one.snapshot} and of {three.snapshot}" in words
    for entry, says in (
        (four, "holds no root"),
        (one.model_copy(update={"root": "0" * 63 + "1"}), "holds the root"),
        (one.model_copy(update={"record_count": 4}), "of 3 records"),
        (one.model_copy(update={"snapshot": "datanets/words/snapshots/1"}), "holds no root"),
    ):
        with pytest.raises(ValueError, match=says):
            on_chain(anchored.rpc, anchored.registry, [entry])


def test_another_contract_is_no_registry(anchored, chain):
    for address in (chain.contracts.token, "0x" + "1" * 40):
        with pytest.raises(ValueError, match="is no DatanetRegistry"):
            on_chain(anchored.rpc, address, [anchored.log.entry(1)])


def test_a_chain_that_is_away_says_nothing(anchored):
    with pytest.raises(RpcError):
        on_chain(Rpc("http://127.0.0.1:9"), anchored.registry, [anchored.log.entry(1)])


@pytest.mark.parametrize("kind", ("record", "snapshot", "consistency"))
def test_the_command_asks_the_chain(anchored, tmp_path, kind):
    proofs = {
        "record": (anchored.log.record(2, 2), anchored.log.record(2, 4)),
        "snapshot": (anchored.log.snapshot(1, 3), anchored.log.snapshot(1, 4)),
        "consistency": (anchored.log.consistency(1, 3), anchored.log.consistency(1, 4)),
    }[kind]
    for proof, status, says in zip(proofs, (0, 1), ("holds the root of", "holds no root of"), strict=True):
        (tmp_path / "proof").write_bytes(proof.to_bytes())
        words = ["verify", kind, str(tmp_path / "proof"), "--rpc", anchored.rpc.url, "--registry", anchored.registry]
        result = CliRunner().invoke(app, words)
        assert (result.exit_code, says in result.output) == (status, True), result.output
