"""The embedded chain as a process: what survives kill -9, who may talk to it, and how it starts and stops."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from services.ledger.chain import Call, ChainError
from services.ledger.chain_node import Node
from services.ledger.devchain.evm import Evm
from services.ledger.devchain.http import Server
from services.ledger.devchain.rpc import Methods
from services.ledger.devchain.storage import SqliteStorage
from services.ledger.signing import Fees, sign
from tests.chains import CHAIN_ID, OPERATOR, STRANGER, Devchain, rpc

FEES = Fees(max_fee=10 * 10**9, priority_fee=10**9)
SINK = "0x" + "51" * 20
KILLS = 8


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Devchain]:
    """A development chain; killed at the end unless the test has stopped it."""
    started = Devchain(tmp_path, OPERATOR.address)
    started.start()
    yield started
    if started.process is not None and started.process.poll() is None:
        started.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devchain]:
    """One chain for the tests that leave it at its first block."""
    started = Devchain(tmp_path_factory.mktemp("untouched"), OPERATOR.address)
    started.start()
    yield started
    started.stop(signal.SIGKILL)


def payment(nonce: int) -> bytes:
    return sign(OPERATOR, Call(SINK, b"", 1), chain_id=CHAIN_ID, nonce=nonce, gas=21_000, fees=FEES).raw


def post(chain: Devchain, body: bytes, **headers: str) -> tuple[int, bytes]:
    """A request with exactly these headers besides Host and Content-Length."""
    connection = http.client.HTTPConnection("127.0.0.1", chain.port, timeout=10)
    connection.request("POST", "/", body, {"Content-Type": "application/json"} | headers)
    response = connection.getresponse()
    return response.status, response.read()


def call(chain: Devchain, method: str, *params: Any) -> Any:
    status, body = post(chain, json.dumps({"id": 1, "method": method, "params": params}).encode())
    assert status == 200
    return json.loads(body)


# --- durability


@pytest.mark.slow
def test_no_acknowledged_transaction_is_lost_to_kill_9(chain: Devchain) -> None:
    """Sends payments without pause while the chain is killed at random moments, and counts what came of them."""
    rounds = random.Random(7)
    acknowledged: list[str] = []
    for _ in range(KILLS):
        killer = threading.Timer(rounds.uniform(0.01, 0.4), chain.stop, (signal.SIGKILL,))
        killer.start()
        try:
            node = Node.connect(chain.url, CHAIN_ID, timeout=5)
            while True:
                acknowledged.append(node.broadcast(payment(len(acknowledged))))
        except ChainError:
            pass
        killer.join()
        chain.start()
        # The one in flight may or may not have been mined; sending it again settles it, once.
        node = Node.connect(chain.url, CHAIN_ID)
        acknowledged.append(node.broadcast(payment(len(acknowledged))))
    assert all(node.receipt(tx_hash) is not None for tx_hash in acknowledged)
    assert node.nonce(OPERATOR.address) == len(acknowledged)
    assert int(rpc(chain.url, "eth_getBalance", SINK), 16) == len(acknowledged)
    assert len(acknowledged) > KILLS


def test_blocks_receipts_and_clock_survive_a_kill(chain: Devchain) -> None:
    tx_hash = Node.connect(chain.url, CHAIN_ID).broadcast(payment(0))
    rpc(chain.url, "evm_increaseTime", 86_400)
    rpc(chain.url, "evm_mine")
    head, receipt = (
        rpc(chain.url, "eth_getBlockByNumber", "latest"),
        rpc(chain.url, "eth_getTransactionReceipt", tx_hash),
    )
    assert int(head["timestamp"], 16) >= time.time() + 86_000
    chain.stop(signal.SIGKILL)
    assert chain.start()["block"] == 2
    assert rpc(chain.url, "eth_getBlockByNumber", "latest") == head
    assert rpc(chain.url, "eth_getTransactionReceipt", tx_hash) == receipt
    rpc(chain.url, "evm_mine")
    later = rpc(chain.url, "eth_getBlockByNumber", "latest")
    assert int(later["timestamp"], 16) >= int(head["timestamp"], 16)


# --- starting and stopping


@pytest.mark.parametrize("how", (signal.SIGTERM, signal.SIGINT))
def test_signals_stop_it_cleanly(chain: Devchain, how: signal.Signals) -> None:
    requests.post(chain.url, json={"id": 1, "method": "eth_chainId"}, timeout=5)
    started = time.monotonic()
    assert chain.stop(how) == 0
    assert time.monotonic() - started < 5


def refused(chain: Devchain, capfd: pytest.CaptureFixture[str]) -> str:
    """The words with which the chain does not start."""
    with pytest.raises(AssertionError):
        chain.start()
    assert chain.process is not None
    assert chain.process.wait(10) == 1
    return capfd.readouterr().err


def test_one_file_serves_one_process(chain: Devchain, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "does another process use this chain?" in refused(Devchain(tmp_path), capfd)


def test_a_taken_port_is_named(chain: Devchain, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = Devchain(tmp_path / "other")
    other.port = chain.port
    assert "Address already in use" in refused(other, capfd)


def test_another_chain_id_is_refused(chain: Devchain, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    chain.stop()
    assert "holds chain 31337, not 5" in refused(Devchain(tmp_path, chain_id=5), capfd)


def test_accounts_are_funded_at_genesis_only(
    chain: Devchain, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chain.stop()
    assert "was not funded when this chain was made" in refused(Devchain(tmp_path, STRANGER.address), capfd)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chain.sqlite").write_bytes(b"not a database" * 100)
    assert "is not a chain's file" in refused(Devchain(tmp_path), capfd)


# --- who may talk to it


def test_web_pages_and_rebound_names_are_kept_out(untouched: Devchain) -> None:
    request = json.dumps({"id": 1, "method": "eth_chainId"}).encode()
    port = untouched.port
    assert post(untouched, request)[0] == 200
    assert post(untouched, request, Host=f"localhost:{port}")[0] == 200
    assert post(untouched, request, Host=f"evil.example:{port}")[0] == 403
    assert post(untouched, request, Host="127.0.0.1.evil.example")[0] == 403
    assert post(untouched, request, Origin="https://evil.example")[0] == 403
    assert post(untouched, request, Origin="null")[0] == 403
    assert post(untouched, request, **{"Content-Type": "text/plain"})[0] == 415
    assert requests.options(untouched.url, timeout=5).status_code == 501
    assert requests.get(untouched.url, timeout=5).status_code == 501


def test_it_listens_on_loopback_only(untouched: Devchain) -> None:
    outside = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in outside:
        if not str(address).startswith("127."):
            with pytest.raises(OSError), socket.create_connection((address, untouched.port), timeout=1):  # noqa: PT011
                pass


def test_it_listens_elsewhere_and_has_another_name_where_it_is_told_so(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "chain.db")
    methods = Methods(Evm(storage, CHAIN_ID, []))
    with contextlib.closing(storage), Server(0, methods, "127.0.0.2", ("openledger-Chain",)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, body = f"http://127.0.0.2:{server.server_port}", {"id": 1, "method": "eth_chainId"}
        for name, status in (("openledger-chain", 200), ("127.0.0.1", 200), ("openledger-chain.evil.example", 403)):
            host = {"Host": f"{name}:{server.server_port}"}
            assert requests.post(url, json=body, headers=host, timeout=5).status_code == status
        server.shutdown()


def test_bodies_are_bounded_and_measured(untouched: Devchain) -> None:
    with socket.create_connection(("127.0.0.1", untouched.port), timeout=5) as raw:
        head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{untouched.port}\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: 99999999\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", untouched.port), timeout=5) as raw:
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 411")
    assert post(untouched, b"{}")[0] == 200


# --- the envelope


def test_batches_are_answered_in_order_each_for_itself(untouched: Devchain) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 7, "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": "x", "method": "eth_nothing"},
        3,
        {"jsonrpc": "2.0", "id": 9, "method": "eth_getBalance", "params": ["0x12"]},
    ]
    answers = json.loads(post(untouched, json.dumps(batch).encode())[1])
    assert answers[0]["result"] == "0x7a69"
    assert [answer["id"] for answer in answers] == [7, "x", None, 9]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, -32601, -32600, -32602]


@pytest.mark.parametrize(
    ("body", "code"),
    (
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 1_000_000, -32700),
        (b'{"a":' * 500_000, -32700),
        (b"[]", -32600),
        (b"null", -32600),
        (json.dumps([{}] * 1001).encode(), -32600),
        (b'{"method": "__init__"}', -32601),
        (b'{"method": "_evm"}', -32601),
        (b'{"method": "eth_call", "params": {}}', -32602),
        (b'{"method": "eth_call", "params": {"a": 1}}', -32602),
        (b'{"method": "eth_call", "params": ["0x"]}', -32602),
        (b'{"method": "eth_chainId", "params": [1, 2, 3]}', -32602),
        (b'{"method": "eth_getBlockByNumber", "params": ["new"]}', -32602),
        (b'{"method": "eth_getTransactionReceipt", "params": ["0x00"]}', -32602),
        (b'{"method": "eth_sendRawTransaction", "params": ["0xzz"]}', -32602),
        (b'{"method": "eth_sendRawTransaction", "params": ["0x"]}', -32000),
        (b'{"method": "eth_sendRawTransaction", "params": ["0x0201"]}', -32000),
        (b'{"method": "evm_increaseTime", "params": [99999999999]}', -32602),
    ),
)
def test_bad_requests_get_an_error_and_change_nothing(untouched: Devchain, body: bytes, code: int) -> None:
    status, answer = post(untouched, body)
    assert (status, json.loads(answer)["error"]["code"]) == (200, code)
    assert call(untouched, "eth_blockNumber")["result"] == "0x0"


# --- transactions


def test_nonces_are_judged_in_the_words_of_nodes(chain: Devchain) -> None:
    def send(raw: bytes) -> str:
        return str(call(chain, "eth_sendRawTransaction", "0x" + raw.hex()).get("error", {}).get("message"))

    assert send(payment(1)).startswith("nonce too high")
    assert send(payment(0)) == "None"
    assert send(payment(0)) == "already known"
    other = sign(OPERATOR, Call(SINK, b"", 2), chain_id=CHAIN_ID, nonce=0, gas=21_000, fees=FEES).raw
    assert send(other).startswith("nonce too low")
    stranger = sign(OPERATOR, Call(SINK, b"", 2), chain_id=5, nonce=1, gas=21_000, fees=FEES).raw
    assert send(stranger).startswith("invalid chain id")
    assert call(chain, "eth_blockNumber")["result"] == "0x1"


def test_time_follows_the_clock_however_many_blocks_there_are(chain: Devchain) -> None:
    node = Node.connect(chain.url, CHAIN_ID)
    for nonce in range(20):
        node.broadcast(payment(nonce))
    head = node.head()
    assert head.number == 20
    assert abs(head.timestamp - time.time()) <= 3
    stamps = [int(rpc(chain.url, "eth_getBlockByNumber", hex(number))["timestamp"], 16) for number in range(21)]
    assert stamps == sorted(stamps)


def test_calls_within_calls_run_out_of_gas_and_not_of_stack(chain: Devchain) -> None:
    """A contract that calls itself until gas ends, with all the gas of a block."""
    calls_itself = "6000" * 5 + "305af100"  # CALL(gas, this address, no value, no data), then STOP
    creation = bytes.fromhex("6d" + calls_itself + "600052" + "600e6012f3")  # stores it, and returns its 14 bytes
    node = Node.connect(chain.url, CHAIN_ID)
    made = node.broadcast(sign(OPERATOR, Call(None, creation), chain_id=CHAIN_ID, nonce=0, gas=200_000, fees=FEES).raw)
    receipt = node.receipt(made)
    assert receipt is not None
    assert receipt.contract is not None
    assert node.code(receipt.contract).hex() == calls_itself
    call_it = Call(receipt.contract, b"")
    deep = node.broadcast(sign(OPERATOR, call_it, chain_id=CHAIN_ID, nonce=1, gas=29_000_000, fees=FEES).raw)
    mined = node.receipt(deep)
    assert mined is not None
    assert mined.succeeded
    assert mined.gas_used > 21_000 + 400 * 100  # a call costs 100 and what it pushes


def test_history_can_be_read_at_every_block(chain: Devchain) -> None:
    node = Node.connect(chain.url, CHAIN_ID)
    for nonce in range(3):
        node.broadcast(payment(nonce))
    held = [int(rpc(chain.url, "eth_getBalance", SINK, hex(number)), 16) for number in range(4)]
    assert held == [0, 1, 2, 3]
    history = rpc(chain.url, "eth_feeHistory", "0x2", "latest", [50])
    assert (history["oldestBlock"], len(history["baseFeePerGas"]), len(history["reward"])) == ("0x2", 3, 2)
