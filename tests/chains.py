"""Chains for tests, each a process of its own: the embedded development chain, and anvil."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from eth_account import Account
from eth_account.signers.local import LocalAccount

from contracts import build
from services.ledger.chain import Call, Receipt
from services.ledger.chain_node import Node
from services.ledger.deploy import Terms
from services.ledger.signing import sign
from tests.needs import ROOT

CHAIN_ID = 31337
START_SECONDS = 30
ETHER = 10**18

OPEN = 10**18
OPERATOR: LocalAccount = Account.from_key(b"\x01" * 32)  # every role, as on one machine
PAYER: LocalAccount = Account.from_key(b"\x02" * 32)  # holds no ether
STRANGER: LocalAccount = Account.from_key(b"\x03" * 32)
EARNERS = ["0x" + f"{number:040x}" for number in (0xA11CE, 0xB0B, 0xCAFE)]
TERMS = Terms(
    treasury=OPERATOR.address,
    supply=1_000_000 * OPEN,
    cap=10_000_000 * OPEN,
    proposer=OPERATOR.address,
    guardian=STRANGER.address,
    arbiter=STRANGER.address,
    operator=OPERATOR.address,
    committer=OPERATOR.address,
    challenge_window=1,
    verdict_window=60,
    challenge_bond=100 * OPEN,
    max_epoch_increase=1_000_000 * OPEN,
    withdraw_delay=60,
    split_delay=1,
)


class Devchain:
    """A development chain that can be killed and started again on the same file and port."""

    def __init__(self, folder: Path, *fund: str, chain_id: int = CHAIN_ID) -> None:
        self.file = folder / "chain.sqlite"
        self._arguments = ["--data", str(self.file), "--chain-id", str(chain_id)]
        self._arguments += [part for address in fund for part in ("--fund", address)]
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> dict[str, Any]:
        """Starts it and waits for its ready line, which it returns as the object that it is."""
        command = [sys.executable, "-m", "services.ledger.devchain", "--port", str(self.port), *self._arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the chain did not start"
        ready: dict[str, Any] = json.loads(line)
        self.port = ready["port"]
        return ready

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal and waits; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        with self.process:
            return self.process.wait(START_SECONDS)


@contextmanager
def devchain(folder: Path, *fund: str) -> Iterator[str]:
    """The URL of a fresh development chain with these accounts funded."""
    chain = Devchain(folder, *fund)
    chain.start()
    try:
        yield chain.url
    finally:
        chain.stop()


@contextmanager
def anvil(*fund: str) -> Iterator[str]:
    """The URL of a fresh anvil with these accounts funded."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    local = ROOT / "contracts" / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    program = str(local) if local.exists() else str(shutil.which("anvil"))
    options = ["--chain-id", str(CHAIN_ID), "--slots-in-an-epoch", "1", "--prune-history", "64", "--silent"]
    around = os.environ | build.home() | {"NO_COLOR": "1"}
    process = subprocess.Popen([program, "--port", str(port), *options], env=around)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(url)
        for address in fund:
            rpc(url, "anvil_setBalance", address, hex(10**6 * ETHER))
        yield url
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def rpc(url: str, method: str, *params: Any) -> Any:
    """One JSON-RPC call, without a client library in between. Fails on an error response."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    response = requests.post(url, json=body, timeout=START_SECONDS).json()
    assert "error" not in response, response
    return response["result"]


def _wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            rpc(url, "eth_chainId")
            return
        except requests.ConnectionError:
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            time.sleep(0.05)


# Code of contract wallets (ERC-1271): each answers every call.  One takes every signature; one does, too, once it has
# burnt all gas but 5,000; one does where gas costs nothing, as where it is estimated, and refuses in a block.
YES_MAN = bytes.fromhex("631626ba7e60e01b60005260206000f3")
BURNER = bytes.fromhex("5b6113885a11600057") + YES_MAN
TWO_FACED = bytes.fromhex("3a601457") + YES_MAN + bytes.fromhex("5b60006000f3")


def creation(code: bytes) -> bytes:
    """The data of a transaction that makes a contract with that code, of up to 32 bytes: puts it down, returns it."""
    size = len(code)
    return bytes([0x5F + size]) + code + bytes.fromhex("600052") + bytes([0x60, size, 0x60, 32 - size, 0xF3])


def send(node: Node, call: Call, account: LocalAccount = OPERATOR) -> Receipt:
    """Sends a call and waits until it is mined."""
    signed = sign(
        account,
        call,
        chain_id=node.chain_id,
        nonce=node.nonce(account.address, pending=True),
        gas=node.estimate(account.address, call),
        fees=node.fees(),
    )
    return mined(node, node.broadcast(signed.raw))


def mined(node: Node, tx_hash: str) -> Receipt:
    deadline = time.monotonic() + 20
    while (receipt := node.receipt(tx_hash)) is None:
        assert time.monotonic() < deadline, f"{tx_hash} is not mined"
        time.sleep(0.05)
    return receipt
