"""Certificates for tests: an authority, and what it issues, as the PEM files that cert-manager would write."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from openledger.tls import TlsFiles

HERE = ("localhost", "127.0.0.1")


@dataclass
class Authority:
    """Issues certificates; each authority's name is the same, and its key its own."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> bytes:
        ca = x509.BasicConstraints(ca=True, path_length=0)
        made = _begun(self.key.public_key(), "tests", -1, 10).add_extension(ca, critical=True)
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, folder: Path, names: tuple[str, ...] = HERE, since: float = -1, until: float = 10) -> TlsFiles:
        """Write ca.crt, tls.crt and tls.key into a folder; since and until are days from now."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_name(name) for name in names])
        certificate = _begun(key.public_key(), "a service", since, until).add_extension(alternatives, critical=False)
        files = TlsFiles(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
        files.authority.write_bytes(self.pem)
        signed = certificate.sign(self.key, hashes.SHA256())
        files.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


def settings(files: TlsFiles) -> dict[str, Path | None]:
    """As a service's configuration names them."""
    return {
        "tls_authority_file": files.authority,
        "tls_certificate_file": files.certificate,
        "tls_key_file": files.key,
    }


def _begun(public: ec.EllipticCurvePublicKey, name: str, since: float, until: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=until))
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
