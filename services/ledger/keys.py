"""The ledger's two keys: the chain sender's, and the one that signs sessions.

python -m services.ledger.keys FILE      makes the sender's key if it is not there, prints its address
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_account import Account
from eth_account.signers.local import LocalAccount

from openledger import key_files
from openledger.key_files import KeyFileError


def account(path: Path) -> LocalAccount:
    """The account whose key (0x hex) the file holds; made at random if there is no file.  Raises `KeyFileError`."""
    found: LocalAccount = Account.from_key(key_files.private_key(path))
    return found


def session_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs sessions (PEM, PKCS 8); made at random if there is no file.  Raises `KeyFileError`."""
    pem = key_files.keep(path, _new_session_key)
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:  # a TypeError: it wants a password
        raise KeyFileError(f"{path} does not hold a private key in PEM form, without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a key of another kind than Ed25519")
    return key


def _new_session_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        raise SystemExit(2)
    sys.stdout.write(account(Path(sys.argv[1])).address.lower() + "\n")
