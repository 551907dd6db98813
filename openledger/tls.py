"""TLS towards the services, from PEM files that are renewed while they are in use.

gRPC reads a caller's certificate once a channel, and cert-manager renews it every other month: so what calls here opens
its channel anew when the files have changed.  Knows files and channels, and not who is at the other end.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc

AUTHORITY, CERTIFICATE, KEY = (
    "OPENLEDGER_TLS_AUTHORITY_FILE", "OPENLEDGER_TLS_CERTIFICATE_FILE", "OPENLEDGER_TLS_KEY_FILE",
)  # fmt: skip
LOOK_SECONDS = 10.0
_TRIES = 5

Options = Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: whose certificates are believed; and our own with its key, for whoever asks for one."""

    authority: Path
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> TlsFiles | None:
        """Those that environment variables name; None where none does.  Raises `ValueError` for half of them."""
        authority, certificate, key = (environment.get(name, "") for name in (AUTHORITY, CERTIFICATE, KEY))
        if not (authority or certificate or key):
            return None
        if not authority or bool(certificate) is not bool(key):
            raise ValueError(f"TLS takes {AUTHORITY}, and of {CERTIFICATE} and {KEY} both or none")
        return cls(Path(authority), *((Path(certificate), Path(key)) if certificate else ()))

    @property
    def state(self) -> tuple[int, ...]:
        """Another one after the files were renewed.  Raises `OSError`."""
        files = (self.authority, self.certificate, self.key)
        return tuple(status for file in files if file for status in _seen(file))

    def read(self) -> tuple[bytes, bytes | None, bytes | None]:
        """What authority, certificate and key say, all of one renewal.

        Raises `OSError` also for what is no PEM, and for another certificate's key: gRPC would take anything, and fail
        at every handshake, without a word.
        """
        for _ in range(_TRIES):
            before = self.state
            said = (self.authority.read_bytes(), _bytes(self.certificate), _bytes(self.key))
            if self.state == before:
                self._check()
                return said
        raise OSError(f"{self.authority} and what is beside it change all the time")

    def _check(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.authority)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)


class RenewedChannel:
    """A channel of `grpc.aio` that is opened anew when its files change.  Calls in hand end where they began.

    `name`: what the other end's certificate must be for, where its address does not say so.
    """

    def __init__(self, endpoint: str, files: TlsFiles, options: Options, name: str = "") -> None:
        self._endpoint, self._files = endpoint, files
        self._options = [*options, *([("grpc.ssl_target_name_override", name)] if name else [])]
        self._opened: list[grpc.aio.Channel] = []
        self._state: tuple[int, ...] = ()
        self._looked = float("-inf")

    def unary_unary(self, *how: Any, **more: Any) -> Any:
        """As the channel's."""
        return partial(self._call, "unary_unary", how, more)

    def unary_stream(self, *how: Any, **more: Any) -> Any:
        """As the channel's."""
        return partial(self._call, "unary_stream", how, more)

    def stream_unary(self, *how: Any, **more: Any) -> Any:
        """As the channel's."""
        return partial(self._call, "stream_unary", how, more)

    def stream_stream(self, *how: Any, **more: Any) -> Any:
        """As the channel's."""
        return partial(self._call, "stream_stream", how, more)

    async def close(self) -> None:
        """Close every channel that was opened."""
        for channel in self._opened:
            await channel.close()

    def _call(self, kind: str, how: Any, more: Any, *arguments: Any, **call: Any) -> Any:
        return getattr(self._newest(), kind)(*how, **more)(*arguments, **call)

    def _newest(self) -> grpc.aio.Channel:
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS or not self._opened:
            self._looked = now
            try:
                self._renew()
            except OSError:
                # Between two renewals, or for good: what was read before holds until it is over.
                if not self._opened:
                    raise
        return self._opened[-1]

    def _renew(self) -> None:
        if self._files.state == self._state:
            return
        state, (authority, certificate, key) = self._files.state, self._files.read()
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        self._opened.append(grpc.aio.secure_channel(self._endpoint, credentials, options=self._options))
        self._state = state


def open_channel(endpoint: str, tls: TlsFiles | None, options: Options, name: str = "") -> Any:
    """A channel to host:port, as the stubs take one: by TLS where there are files, else in clear."""
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options=options)
    return RenewedChannel(endpoint, tls, options, name)


def _seen(file: Path) -> tuple[int, int, int]:
    status = os.stat(file)  # noqa: PTH116 - follows links, as what Kubernetes renews are
    return status.st_ino, status.st_mtime_ns, status.st_size


def _bytes(file: Path | None) -> bytes | None:
    return file.read_bytes() if file else None
