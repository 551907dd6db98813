"""Deployment on both kinds of chain: found again, continued after a kill, and refused when something does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.ledger.chain import Call, NonceTooLow, WrongChain
from services.ledger.chain_node import Node
from services.ledger.chain_rpc import RpcChain, open_chain
from services.ledger.deploy import DeploymentMismatch, deploy
from tests.chains import CHAIN_ID, EARNERS, OPERATOR, STRANGER, TERMS, send


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.mark.parametrize("after_sending", (False, True))
@pytest.mark.parametrize("creation", range(5))
def test_a_deployment_killed_anywhere_goes_on(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, creation: int, after_sending: bool
) -> None:
    path = tmp_path / "contracts.json"
    nonce = node.nonce(OPERATOR.address)
    sent = []

    def dies(self: Node, raw: bytes) -> str:
        if len(sent) == creation:
            if after_sending:
                broadcast(self, raw)
            raise Killed
        sent.append(raw)
        return broadcast(self, raw)

    broadcast = Node.broadcast
    with monkeypatch.context() as patched:
        patched.setattr(Node, "broadcast", dies)
        with pytest.raises(Killed):
            deploy(node, OPERATOR, TERMS, path)
    planned = json.loads(path.read_text())["transactions"]
    assert len(planned) == creation + 1
    contracts = deploy(node, OPERATOR, TERMS, path)
    assert [getattr(contracts, key) for key in planned] == [entry["address"] for entry in planned.values()]
    assert node.nonce(OPERATOR.address) == nonce + 5


def without_models(path: Path) -> dict[str, Any]:
    """Makes the file one of a version that knew no ModelRegistry; returns what it was."""
    content: dict[str, Any] = json.loads(path.read_text())
    old = {"version": 1, "chain_id": content["chain_id"], "genesis": content["genesis"]}
    old["terms"] = {name: value for name, value in content["terms"].items() if name != "split_delay"}
    old["transactions"] = {key: sent for key, sent in content["transactions"].items() if key != "models"}
    path.write_text(json.dumps(old))
    return content


@pytest.mark.parametrize("killed", ("no", "before sending", "after sending"))
def test_an_older_deployment_gets_what_it_lacks_and_nothing_else(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    path = tmp_path / "contracts.json"
    first = deploy(node, OPERATOR, TERMS, path)
    content, nonce = without_models(path), node.nonce(OPERATOR.address)

    def dies(self: Node, raw: bytes) -> str:
        if killed == "after sending":
            broadcast(self, raw)
        raise Killed

    broadcast = Node.broadcast
    if killed != "no":
        with monkeypatch.context() as patched:
            patched.setattr(Node, "broadcast", dies)
            with pytest.raises(Killed):
                deploy(node, OPERATOR, TERMS, path)
    second = deploy(node, OPERATOR, TERMS, path)
    assert replace(second, models=first.models) == first
    assert second.models != first.models
    assert node.nonce(OPERATOR.address) == nonce + 1
    assert deploy(node, OPERATOR, TERMS, path) == second
    written = json.loads(path.read_text())
    assert written["terms"] == content["terms"]
    with pytest.raises(DeploymentMismatch, match="split_delay was 1 and is now 2"):
        deploy(node, OPERATOR, replace(TERMS, split_delay=2), path)


def test_what_is_missing_is_not_made_where_it_must_not_be(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "contracts.json"
    deploy(node, OPERATOR, TERMS, path)
    assert deploy(node, OPERATOR, TERMS, path, create=False)
    without_models(path)
    nonce = node.nonce(OPERATOR.address, pending=True)
    with pytest.raises(DeploymentMismatch, match=r"contracts\.json does not say where ModelRegistry is"):
        deploy(node, OPERATOR, TERMS, path, create=False)
    assert node.nonce(OPERATOR.address, pending=True) == nonce


def test_a_second_deployment_finds_the_first(node: Node, tmp_path: Path) -> None:
    first = deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json")
    nonce = node.nonce(OPERATOR.address)
    assert deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json") == first
    assert node.nonce(OPERATOR.address) == nonce


def test_a_planned_creation_whose_nonce_was_taken_is_planned_anew(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(self: Node, raw: bytes) -> str:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Node, "broadcast", dies)
        with pytest.raises(Killed):
            deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json")
    send(node, Call(EARNERS[0], b"", 1))
    contracts = deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json")
    assert RpcChain(node, contracts).token_balance(OPERATOR.address) == TERMS.supply


@pytest.mark.parametrize("create", (True, False))
def test_contracts_whose_creation_the_node_has_forgotten_are_not_made_again(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    path = tmp_path / "contracts.json"
    first = deploy(node, OPERATOR, TERMS, path)
    nonce, written = node.nonce(OPERATOR.address, pending=True), path.read_text()
    monkeypatch.setattr(Node, "receipt", lambda self, tx_hash: None)
    assert deploy(node, OPERATOR, TERMS, path, create=create) == replace(first, block=0)
    assert (node.nonce(OPERATOR.address, pending=True), path.read_text()) == (nonce, written)


def test_a_contract_that_is_gone_is_not_made_again_beneath_others(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "contracts.json"
    deploy(node, OPERATOR, TERMS, path)
    written = path.read_text()

    def lost(self: Node, raw: bytes) -> str:
        raise NonceTooLow("nonce too low")

    monkeypatch.setattr(Node, "receipt", lambda self, tx_hash: None)
    monkeypatch.setattr(Node, "code", lambda self, address: b"")
    monkeypatch.setattr(Node, "broadcast", lost)
    with pytest.raises(DeploymentMismatch, match=r"OpenToken.*is not on this chain"):
        deploy(node, OPERATOR, TERMS, path)
    assert path.read_text() == written


def test_other_terms_are_refused(node: Node, tmp_path: Path) -> None:
    deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json")
    with pytest.raises(DeploymentMismatch, match="challenge_window was 1 and is now 2"):
        deploy(node, OPERATOR, replace(TERMS, challenge_window=2), tmp_path / "contracts.json")


def test_contracts_of_another_version_are_refused(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "contracts.json"
    deploy(node, OPERATOR, TERMS, path)
    content = json.loads(path.read_text())
    for later in ("arbiter", "verdict_window", "challenge_bond", "max_epoch_increase"):
        del content["terms"][later]
    path.write_text(json.dumps(content))
    assert deploy(node, OPERATOR, TERMS, path)
    code = Node.code
    monkeypatch.setattr(Node, "code", lambda self, address: code(self, address)[:-1])
    with pytest.raises(DeploymentMismatch, match="not this version's OpenToken: contracts are never changed in place"):
        deploy(node, OPERATOR, TERMS, path)


@pytest.mark.parametrize(
    ("term", "value"),
    (("arbiter", OPERATOR.address), ("verdict_window", 61), ("challenge_bond", 1), ("max_epoch_increase", 1)),
)
def test_terms_that_the_file_does_not_state_are_read_from_the_chain(
    node: Node, tmp_path: Path, term: str, value: object
) -> None:
    path = tmp_path / "contracts.json"
    deploy(node, OPERATOR, TERMS, path)
    content = json.loads(path.read_text())
    del content["terms"][term]
    path.write_text(json.dumps(content))
    with pytest.raises(DeploymentMismatch, match=r"RewardsDistributor\.\w+ is "):
        deploy(node, OPERATOR, replace(TERMS, **{term: value}), path)


def test_a_file_that_lies_is_found_out(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "contracts.json"
    deploy(node, OPERATOR, TERMS, path)
    content = json.loads(path.read_text())
    content["terms"]["operator"] = STRANGER.address.lower()
    path.write_text(json.dumps(content))
    with pytest.raises(DeploymentMismatch, match=r"InferenceEscrow\.operator"):
        deploy(node, OPERATOR, replace(TERMS, operator=STRANGER.address), path)


def test_a_file_of_another_chain_is_refused(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "contracts.json"
    deploy(node, OPERATOR, TERMS, path)
    content = json.loads(path.read_text())
    content["genesis"] = "0x" + "00" * 32
    path.write_text(json.dumps(content))
    with pytest.raises(WrongChain):
        deploy(node, OPERATOR, TERMS, path)


def test_a_broken_file_is_refused(node: Node, tmp_path: Path) -> None:
    (tmp_path / "contracts.json").write_text("{")
    with pytest.raises(DeploymentMismatch, match="is not a deployment file"):
        deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json")


def test_one_call_opens_the_chain_with_its_contracts(url: str, tmp_path: Path) -> None:
    chain = open_chain(url, CHAIN_ID, OPERATOR, TERMS, tmp_path / "contracts.json")
    assert chain.token_balance(OPERATOR.address) == TERMS.supply
    assert (chain.last_epoch(), chain.active_epoch(), chain.funded()) == (0, 0, 0)
