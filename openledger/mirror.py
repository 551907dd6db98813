"""Published artifacts on a web server: brought into a folder of this machine when they are first read.

A server is not believed: what comes has the SHA-256 by which it is named, or is not kept.  Nor is it trusted with this
machine: all that one object brings is bounded in bytes and in time, and no redirect is followed.  That something is not
there (404) is said as of a folder; whatever else a server does is a `MirrorError`, and says nothing about artifacts.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from threading import Timer
from urllib.parse import SplitResult, urlsplit

from openledger.artifacts import ArtifactStore, file_sha256

MOST_BYTES, MOST_SECONDS = 16 << 30, 3600.0
_SILENCE = 20.0
"""Seconds in which something must come."""
_CHUNK = 1 << 20


class MirrorError(OSError):
    """A server did not give what was asked for; the text says what it did."""


@dataclass
class _Left:
    """What may still be brought: bytes, and seconds of waiting for them."""

    bytes: int
    seconds: float


class Mirror(ArtifactStore):
    """The artifacts at `<url>/sha256/<first two hex digits>/<digest>`, kept in the folder `root`.

    url: as `location` takes it.  most_bytes, most_seconds: of all that is brought; what came stays, so
    that another object goes on from there.  Raises `ValueError` for what is no such URL.
    """

    def __init__(
        self, url: str, root: Path, *, most_bytes: int = MOST_BYTES, most_seconds: float = MOST_SECONDS
    ) -> None:
        super().__init__(root)
        self.url = url.rstrip("/")
        self._at = location(url)
        self._left = _Left(most_bytes, most_seconds)

    def __str__(self) -> str:
        return self.url

    def bring(self, digest: str) -> Path:
        """As for any store; where the server has no such blob, nothing is there.  Raises `MirrorError` too."""
        place = super().bring(digest)
        if not self._is_kept(digest, place):
            self._fetch(digest)
        return place

    def _is_kept(self, digest: str, place: Path) -> bool:
        """Whether a blob is here and whole; an unchanged file is hashed once.

        What this machine's disk has damaged is removed, and brought again: it is no fault of whoever published it.
        """
        if not place.is_file():
            return False
        status = place.stat()
        seen = (status.st_size, status.st_mtime_ns)
        if self._verified.get(digest) != seen:
            if file_sha256(place) != digest:
                place.unlink(missing_ok=True)
                return False
            self._verified[digest] = seen
        return True

    def _fetch(self, digest: str) -> None:
        path, begun = f"/sha256/{digest[:2]}/{digest}", time.monotonic()
        try:
            with self._connection() as connection:
                connection.request("GET", self._at.path.rstrip("/") + path)
                reply = connection.getresponse()
                if reply.status not in (404, 410):
                    self._write(digest, self._body(reply, digest))
        except (OSError, HTTPException) as error:
            late = time.monotonic() - begun >= self._left.seconds
            told = "it took too long; what came before is kept" if late else str(error) or repr(error)
            raise MirrorError(f"{self.url}{path} cannot be read: {told}") from error
        finally:
            self._left.seconds -= time.monotonic() - begun

    @contextmanager
    def _connection(self) -> Iterator[HTTPConnection]:
        """One that ends when time is up, in whatever it waits for then."""
        if self._left.seconds <= 0:
            raise MirrorError("no time is left")
        secret, host = self._at.scheme == "https", self._at.hostname or ""
        kind = HTTPSConnection if secret else HTTPConnection
        connection = kind(host, self._at.port, timeout=min(_SILENCE, self._left.seconds))
        HTTPConnection.connect(connection)
        with closing(connection), connection.sock.dup() as wire:
            watch = Timer(self._left.seconds, _end, (wire,))
            watch.daemon = True
            watch.start()
            try:
                if secret:
                    connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
                yield connection
            finally:
                watch.cancel()

    def _body(self, reply: HTTPResponse, digest: str) -> Iterator[bytes]:
        if reply.status != 200:
            elsewhere = reply.headers.get("Location")
            leads = f", and leads to {elsewhere[:200]!r}: no redirect is followed" if elsewhere else ""
            raise MirrorError(f"the answer is {reply.status}{leads}")
        if reply.length is not None and reply.length > self._left.bytes:
            raise MirrorError(self._too_much(f"it has {reply.length} bytes"))
        found = hashlib.sha256()
        while data := reply.read1(_CHUNK):
            self._left.bytes -= len(data)
            if self._left.bytes < 0:
                raise MirrorError(self._too_much("it does not end"))
            found.update(data)
            yield data
        if found.hexdigest() != digest:
            raise MirrorError("what came has another SHA-256")

    def _too_much(self, what: str) -> str:
        return f"{what}, and {max(0, self._left.bytes)} may still come"


def location(url: str) -> SplitResult:
    """A URL at which artifacts may be: https, or http on this machine itself.  Raises `ValueError` for another."""
    at = urlsplit(url)
    plain = at.geturl() == url and url.isascii() and url.isprintable() and " " not in url
    if not plain or not at.hostname or at.query or at.fragment or at.username is not None or at.port == 0:
        raise ValueError(f"{url[:200]!r} is not the URL of a folder")
    if at.scheme != "https" and not (at.scheme == "http" and _is_this_machine(at.hostname)):
        raise ValueError(f"{url[:200]!r}: https is asked for, except of this machine itself")
    return at


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _end(wire: socket.socket) -> None:
    """Ends a connection in the midst of whatever somebody else waits for on it."""
    with suppress(OSError):  # it is closed already
        wire.shutdown(socket.SHUT_RDWR)
