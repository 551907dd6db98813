"""A node between the ledger and anvil that does not do what nodes should: it is silent, garbles, lies, lags behind.

It passes requests on and answers, unless `before` says something in the node's stead or `after` changes what it said.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

Answer = bytes | dict[str, Any] | None
"""Raw bytes of a body; a JSON-RPC answer; None: the connection is closed without any."""


class BadNode:
    """Where it is, and what it does.  Change `before` and `after` at any time."""

    def __init__(self, real: str) -> None:
        self.real, self.url, self.status = real, "", 200
        self.asked: list[str] = []
        self.before: Callable[[dict[str, Any]], Answer | bool] = lambda request: True
        self.after: Callable[[dict[str, Any], dict[str, Any]], Answer] = lambda request, answer: answer

    def behave(self) -> None:
        """From now on it is a node like others."""
        self.status, self.before, self.after = 200, lambda request: True, lambda request, answer: answer

    def answer(self, request: dict[str, Any]) -> Answer:
        self.asked.append(request["method"])
        said = self.before(request)
        if said is not True:
            assert not isinstance(said, bool)
            return said
        return self.after(request, requests.post(self.real, json=request, timeout=20).json())

    def lag(self, head: int) -> None:
        """It knows nothing of what came after that block."""

        def old(request: dict[str, Any]) -> Answer | bool:
            method, params = request["method"], request.get("params", [])
            if method == "eth_blockNumber":
                return said(request, hex(head))
            for place, param in enumerate(params):
                if param in ("latest", "pending"):
                    params[place] = hex(head)
            if method == "eth_getBlockByNumber" and int(params[0], 16) > head:
                return said(request, None)
            if method == "eth_getLogs":  # as many nodes do: what there is of them, without a word
                params[0]["toBlock"] = hex(min(head, int(params[0]["toBlock"], 16)))
                return said(request, []) if int(params[0]["fromBlock"], 16) > head else True
            return True

        def cut(request: dict[str, Any], answer: dict[str, Any]) -> Answer:
            found = answer.get("result")
            late = request["method"] == "eth_getTransactionReceipt" and found and int(found["blockNumber"], 16) > head
            return said(request, None) if late else answer

        self.before, self.after = old, cut


def said(request: dict[str, Any], result: Any) -> dict[str, Any]:
    """A JSON-RPC answer to it."""
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


@contextmanager
def bad_node(real: str) -> Iterator[BadNode]:
    """One in front of a real node; it behaves until it is told otherwise."""
    node = BadNode(real)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = node.answer(request)
            if answer is None:
                self.close_connection = True
                return
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(node.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    node.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield node
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
