"""`openledger deploy` on both kinds of chain: killed, continued, refused; what it writes is what the ledger reads."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from eth_account import Account

from openledger.cli.wallets import PASSWORD
from services.ledger.chain_node import Node
from services.ledger.chain_rpc import open_chain
from services.ledger.deploy_command import main
from services.ledger.terms import SETTINGS, terms_of
from tests.chains import CHAIN_ID, EARNERS, OPERATOR, STRANGER
from tests.needs import ROOT
from tests.signing_service import honest, signing_service

GUARDIAN = EARNERS[0]


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The deployer's, encrypted."""
    path = tmp_path / "deployer.json"
    path.write_text(json.dumps(Account.encrypt(STRANGER.key, "correct horse", "pbkdf2", 10)))
    monkeypatch.setenv(PASSWORD, "correct horse")
    return path


def words(url: str, out: Path, *more: str) -> list[str]:
    return [
        "--rpc",
        url,
        "--chain-id",
        str(CHAIN_ID),
        "--out",
        str(out),
        "--operator",
        OPERATOR.address,
        "--yes",
        *more,
    ]


def test_what_it_writes_is_what_the_ledger_reads(url, node, tmp_path, key, capsys):
    out = tmp_path / "contracts.json"
    more = ("--key", str(key), "--guardian", GUARDIAN, "--challenge-window-seconds", "600", "--supply", str(10**24))
    assert main(words(url, out, *more)) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["chain_id"], told["operator"]) == (CHAIN_ID, OPERATOR.address.lower())
    assert told["settings"] == {
        "OPENLEDGER_LEDGER_GUARDIAN": GUARDIAN,
        "OPENLEDGER_LEDGER_CHALLENGE_WINDOW_SECONDS": "600",
        "OPENLEDGER_LEDGER_SUPPLY": str(10**24),
    }
    given = {"guardian": GUARDIAN, "challenge_window_seconds": 600, "supply": 10**24}
    terms = terms_of(defaults() | given, OPERATOR.address.lower())
    # As on a chain that is no development chain: the ledger's own account, which did not deploy, may create nothing.
    chain = open_chain(url, CHAIN_ID, OPERATOR, terms, out, create=False)
    assert set(told["contracts"].values()) == {getattr(chain.contracts, key) for key in chain.contracts.__slots__[2:]}
    assert chain.token_balance(OPERATOR.address) == 10**24
    nonce = node.nonce(STRANGER.address)
    assert main(words(url, out, *more)) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert node.nonce(STRANGER.address) == nonce


def defaults():
    from services.ledger.config import LedgerConfig

    return {name: LedgerConfig.model_fields[name].default for name in SETTINGS}


def test_killed_and_started_again_it_makes_nothing_twice(url, node: Node, tmp_path, key):
    out, nonce = tmp_path / "contracts.json", node.nonce(STRANGER.address)
    command = [sys.executable, "-m", "services.ledger.deploy_command", *words(url, out, "--key", str(key))]
    for wanted in (1, 3):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if out.exists() and len(json.loads(out.read_text())["transactions"]) >= wanted:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.001)
        process.wait(60)
    planned = json.loads(out.read_text())["transactions"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)["contracts"]
    assert node.nonce(STRANGER.address) == nonce + 5
    assert {told[entry["contract"]] for entry in planned.values()} == {entry["address"] for entry in planned.values()}


def test_a_signing_service_can_deploy(url, node, tmp_path, capsys):
    with signing_service(honest(STRANGER)) as service:
        more = ("--signer-url", service, "--signer-address", STRANGER.address, "--json")
        assert main(words(url, tmp_path / "contracts.json", *more)) == 0
    assert len(json.loads(capsys.readouterr().out)["contracts"]) == 5


@pytest.mark.parametrize(
    ("more", "said"),
    (
        ((), "name --key, or --signer-url"),
        (("--signer-url", "http://127.0.0.1:1"), "name --key, or --signer-url"),
        (("--key", "nowhere.json"), "there is no key in nowhere.json"),
        (("--guardian", "0x12"), "--guardian: "),
        (("--supply", "-1"), "--supply: "),
        (("--challenge-window-seconds", "0"), "--challenge-window-seconds: "),
        (("--operator", "me"), "is not an address"),
        (("--chain-id", "5"), "the node serves chain 31337, but 5 is configured"),
    ),
)
def test_what_is_wrong_is_said_and_nothing_is_sent(url, node, tmp_path, key, capsys, more, said):
    nonce, who = node.nonce(STRANGER.address), () if "name --key" in said or "--key" in more else ("--key", str(key))
    assert main(words(url, tmp_path / "contracts.json", *who, *more)) == 1
    assert said in capsys.readouterr().err
    assert node.nonce(STRANGER.address) == nonce
    assert not (tmp_path / "contracts.json").exists()
    assert not Path("nowhere.json").exists()


@pytest.mark.parametrize("answer", ("", "n\n", "maybe\n"))
def test_without_a_yes_nothing_is_sent(url, node, tmp_path, key, capsys, monkeypatch, answer):
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    asked = [word for word in words(url, tmp_path / "contracts.json", "--key", str(key)) if word != "--yes"]
    assert main(asked) == 1
    said = capsys.readouterr().err
    assert "None of it can be changed afterwards" in said
    assert "nothing was sent" in said
    assert not (tmp_path / "contracts.json").exists()
