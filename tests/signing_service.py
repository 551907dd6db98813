"""A signing service over JSON-RPC, as Web3Signer is, and proxies before KMSs are.  Can be told to err."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

Answer = Callable[[str, list[Any]], Any]
"""What is answered to a method and its parameters: the whole JSON-RPC answer, or bytes as they are."""


def honest(account: LocalAccount) -> Answer:
    """Signs what it is asked to, for that account."""

    def answer(method: str, params: list[Any]) -> Any:
        if method == "eth_accounts":
            return {"result": [account.address]}
        assert method == "eth_signTransaction", method
        fields = dict(params[0])
        if fields.pop("from").lower() != account.address.lower():
            return {"error": {"code": -32000, "message": "no such key here"}}
        if "to" in fields:
            fields["to"] = bytes.fromhex(fields["to"][2:])
        return {"result": "0x" + Account.sign_transaction(fields, account.key).raw_transaction.hex()}

    return answer


@contextmanager
def signing_service(answer: Answer) -> Iterator[str]:
    """Its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told = answer(asked["method"], asked["params"])
            body = (
                told if isinstance(told, bytes) else json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}).encode()
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
