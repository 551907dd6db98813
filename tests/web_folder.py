"""A folder on a web server of this machine, and servers that answer otherwise."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer


class Quiet(SimpleHTTPRequestHandler):
    """As `python -m http.server`."""

    asked: list[str]
    """Paths, in order."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()


@contextmanager
def serving(handler, certificate=None):
    """Its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def folder_of(store):
    """URL of a store's folder, and what was asked for there."""
    asked = []
    with serving(partial(type("Handler", (Quiet,), {"asked": asked}), directory=str(store.root))) as url:
        yield url, asked


@contextmanager
def answering(respond):
    """URL of a server that answers everything by that."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                respond(self)
            except OSError:
                self.close_connection = True

        def log_message(self, *_):
            pass

    with serving(Handler) as url:
        yield url
