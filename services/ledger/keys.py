"""The ledger's two keys: the chain sender's, and the one that signs sessions.

python -m services.ledger.keys FILE      makes the sender's key if it is not there, and prints its address; with
--password-file PASSWORD                 it is a keystore, opened by the password in that file
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_account import Account
from eth_account.signers.local import LocalAccount
from pydantic import SecretStr

from openledger import key_files
from openledger.key_files import KeyFileError


def account(path: Path, password: Callable[[], str] | None = None) -> LocalAccount:
    """The account whose key the file holds: plain (0x hex), or a keystore that the password opens.

    Made at random if there is no file: a keystore, if there is a password.  Raises `KeyFileError`, and `OSError`.
    """
    if not path.exists():
        key_files.keep(path, lambda: _new_key(password))
    found: LocalAccount = Account.from_key(key_files.unlock(path, password or _no_password(path)))
    return found


def password(file: Path | None, told: SecretStr | None) -> Callable[[], str] | None:
    """Where a keystore's password comes from, if it comes from anywhere: a file, or the configuration itself."""
    if file is not None:
        return lambda: key_files.password(file)
    return told.get_secret_value if told is not None else None


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


def _new_key(password: Callable[[], str] | None) -> bytes:
    made = key_files.new_private_key()
    return made if password is None else key_files.locked(made.decode(), password())


def _no_password(path: Path) -> Callable[[], str]:
    def ask() -> str:
        raise KeyFileError(f"{path} is locked: name a file that has its password")

    return ask


def main() -> None:
    """Makes a key where there is none, and prints its address."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--password-file", type=Path)
    given = parser.parse_args()
    try:
        found = account(given.file, password(given.password_file, None))
    except (KeyFileError, OSError) as error:
        raise SystemExit(str(error)) from None
    sys.stdout.write(found.address.lower() + "\n")


if __name__ == "__main__":
    main()
