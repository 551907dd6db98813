"""The server's side of TLS: certificates are read anew at the next handshake after they were renewed.

Does not know who calls: a certificate opens the door, and what is asked for is judged as ever (`auth`).
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import grpc
from cryptography import x509

from openledger.tls import TlsFiles
from services.kit import logs


class CertificateOver(RuntimeError):
    """Nobody takes it any more, or yet: peers and callers are not reached until it is renewed."""


class Renewed:
    """What a port is served with: the newest files that could be read.  gRPC asks for them at every handshake."""

    def __init__(self, service: str, files: TlsFiles) -> None:
        """Raises `OSError` when a file cannot be read or is no PEM, or the key is another certificate's."""
        self._log, self._files = logs.logger(service), files
        self._state = files.state
        self.first, self._certificate = _read(files)
        self._newer: Any = None
        """What gRPC was not given yet."""
        self._trouble = ""
        self._lock = threading.Lock()
        """gRPC asks in threads of its own."""

    def __call__(self) -> Any:
        """The newer ones, or None where there are none; gRPC keeps to what it has then."""
        with self._lock:
            self._look()
            newer, self._newer = self._newer, None
            return newer

    def must_be_valid(self) -> None:
        """Raises `CertificateOver` where the next handshake would be by a certificate that nobody takes."""
        with self._lock:
            self._look()
            certificate = self._certificate
        since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not since <= datetime.now(UTC) <= until:
            raise CertificateOver(
                f"the certificate of {self._files.certificate} that is in use is valid from {since.isoformat()} until "
                f"{until.isoformat()}: renew it, or mend the clock"
            )

    def _look(self) -> None:
        try:
            state = self._files.state
            if state == self._state:
                return
            self._newer, self._certificate = _read(self._files)
        except OSError as error:
            if str(error) != self._trouble:  # else it would be said every second
                self._trouble = str(error)
                self._log.error("certificates cannot be used; those of before go on", error=self._trouble)
            return
        self._state, self._trouble = state, ""
        self._log.info("certificates were renewed")


def server_credentials(renewed: Renewed, *, callers: bool) -> grpc.ServerCredentials:
    """For a port that is served by TLS.  `callers`: whether they must have a certificate."""
    return grpc.dynamic_ssl_server_credentials(renewed.first, renewed, require_client_authentication=callers)


def _read(files: TlsFiles) -> tuple[Any, x509.Certificate]:
    """What gRPC is configured with, and our certificate in it.  Raises `OSError`."""
    authority, certificate, key = files.read()
    assert certificate is not None
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise OSError(f"{files.certificate} holds no certificate: {error}") from None
    configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)
    return configuration, parsed
