"""What a URL can answer that is not the chain's, or not only: each is the endpoint's fault, in words."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from openledger.cli.epoch_on_chain import on_chain
from openledger.cli.rpc import Rpc, RpcError
from openledger.epoch.report import run
from services.kit.testing import NOWHERE

AT = "0x" + "9" * 40


@contextmanager
def answering(said: bytes) -> Iterator[Rpc]:
    """Something on a port that says the same to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    caller.recv(2**16)
                    caller.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Rpc(f"http://127.0.0.1:{server.getsockname()[1]}")
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode() + body


NONSENSE = {
    "a page": http(b"<html>Welcome</html>"),
    "a page that is not there": http(b"<html>", "404 Not Found"),
    "no text": http(b"\xff\xfe\xfd"),
    "nothing": http(b""),
    "less than was promised": http(b"{", length=100),
    "deep": http(b"[" * 200_000),
    "a list": http(b"[]"),
    "a word": http(b'"hello"'),
    "neither result nor error": http(b'{"status": "ok"}'),
    "a result that is none": http(b'{"result": null}'),
    "another kind of result": http(b'{"result": {"chain": 1}}'),
    "a mail server": b"220 mail.example ESMTP\r\n",
    "a shell": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_chain_is_told_apart_from_an_epoch_that_is_wrong(said):
    with answering(said) as rpc:
        with pytest.raises(RpcError, match=f"{rpc.url}"):
            rpc.number("eth_chainId")
        bundle = type("Bundle", (), {"manifest": None})()
        found = run("chain", lambda at: on_chain(at, bundle), rpc)
    assert found.ok is None
    assert "the chain's answer" in found.words


def test_nobody_there_is_said():
    with pytest.raises(RpcError, match="does not answer"):
        Rpc(f"http://{NOWHERE}").call("eth_chainId")


def test_what_a_node_refuses_is_in_its_words():
    with (
        answering(http(json.dumps({"error": {"code": -1, "message": "not now"}}).encode())) as rpc,
        pytest.raises(RpcError, match="eth_chainId: not now"),
    ):
        rpc.call("eth_chainId")


def test_an_error_that_is_null_is_none():
    with answering(http(b'{"result": "0x7a69", "error": null}')) as rpc:
        assert rpc.number("eth_chainId") == 31337


def test_a_contract_that_is_not_there_is_said():
    with answering(http(b'{"result": "0x"}')) as rpc, pytest.raises(RpcError, match="does not answer as OpenToken"):
        rpc.token_balance(AT, AT)
