"""The HTTP side: loopback unless told otherwise, one request at a time in the chain, nothing from web pages.

A page in a browser on the same machine can reach 127.0.0.1. It is kept out by three rules, each of which suffices:
no request with an Origin, only JSON (which a page cannot send across origins without asking first, and asking is not
answered), and only a Host that names loopback, or has a name that it was given (against DNS rebinding).
What it does not know: what the methods do.
"""

import logging
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from services.ledger.devchain.rpc import Methods, answer

MAX_BODY = 4 * 1024 * 1024  # bytes
MAX_CONNECTIONS = 64
IDLE_SECONDS = 300
log = logging.getLogger("devchain")

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
# py-evm raises Python's recursion limit for calls within calls. With the usual stack, deep enough nesting (in JSON just
# as in the EVM) would end the process before it reaches that limit. Address space, not memory.
STACK_BYTES = 128 * 1024 * 1024


class Server(ThreadingHTTPServer):
    """Serves the methods. Port 0 takes a free one; see `server_port`. Raises OSError if it is taken.

    `host` is the address to listen on, `names` what callers may call this machine beside loopback's names.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, methods: Methods, host: str = "127.0.0.1", names: Sequence[str] = ()) -> None:
        self.methods, self.names = methods, frozenset((*LOOPBACK_NAMES, *(name.lower() for name in names)))
        self.turn = threading.Lock()
        threading.stack_size(STACK_BYTES)
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        # Waits for a place: the backlog then holds those who come after, and refuses who comes after them.
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours; anything else is."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            log.error("a request failed", exc_info=error)


class Handler(BaseHTTPRequestHandler):
    """One connection; kept alive between requests."""

    protocol_version = "HTTP/1.1"
    server: Server
    timeout = IDLE_SECONDS
    # Head and body leave in one segment: apart, each response would wait 40 ms for the head to be acknowledged.
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        refusal = self._refusal()
        if refusal:
            self.close_connection = True  # the body was not read
            self._respond(refusal[0], f'{{"error":"{refusal[1]}"}}'.encode())
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.turn:
            response = answer(self.server.methods, body)
        self._respond(200, response)

    def _refusal(self) -> tuple[int, str] | None:
        """Why the request is not let in, if it is not: status and words."""
        name = self.headers.get("Host", "").lower()
        if name.removesuffix(f":{self.server.server_port}") not in self.server.names:
            return 403, "the Host header does not name this machine"
        if "Origin" in self.headers:
            return 403, "web pages are not served"
        if self.headers.get_content_type() != "application/json":
            return 415, "the body must be application/json"
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            return 411, "a Content-Length is required"
        if int(length) > MAX_BODY:
            return 413, f"the body is over {MAX_BODY} bytes"
        return None

    def _respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are not logged: there are thousands, and the chain's blocks are their record."""
