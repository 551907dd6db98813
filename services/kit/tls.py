"""The server's side of TLS: certificates are read anew at the next handshake after they were renewed.

Does not know who calls: a certificate opens the door, and what is asked for is judged as ever (`auth`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import grpc
from cryptography import x509

from openledger.tls import TlsFiles
from services.kit import logs


class CertificateOver(RuntimeError):
    """Nobody takes it any more, or yet: peers and callers are not reached until it is renewed."""


class Renewed:
    """What gRPC asks at every handshake: whether there are newer files."""

    def __init__(self, service: str, files: TlsFiles) -> None:
        """Raises `OSError` when a file cannot be read or is no PEM, or the key is another certificate's."""
        self._log, self._files = logs.logger(service), files
        self._state, self.first = files.state, _configuration(files)

    def __call__(self) -> Any:
        """The newer ones, or None where there are none; gRPC keeps to what it has then."""
        try:
            state = self._files.state
            if state == self._state:
                return None
            newer = _configuration(self._files)
        except OSError as error:
            self._log.error("certificates cannot be used; those of before go on", error=str(error))
            return None
        self._state = state
        self._log.info("certificates were renewed")
        return newer


def server_credentials(service: str, files: TlsFiles, *, callers: bool) -> grpc.ServerCredentials:
    """For a port that is served by TLS.  `callers`: whether they must have a certificate.  Raises `OSError`."""
    renewed = Renewed(service, files)
    return grpc.dynamic_ssl_server_credentials(renewed.first, renewed, require_client_authentication=callers)


def must_be_valid(files: TlsFiles) -> None:
    """Raises `CertificateOver`, and `OSError` or `ValueError` when the certificate cannot be read."""
    assert files.certificate is not None
    certificate, now = x509.load_pem_x509_certificate(files.certificate.read_bytes()), datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        since, until = certificate.not_valid_before_utc.isoformat(), certificate.not_valid_after_utc.isoformat()
        raise CertificateOver(f"{files.certificate} is valid from {since} until {until}: renew it, or mend the clock")


def _configuration(files: TlsFiles) -> Any:
    authority, certificate, key = files.read()
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)
