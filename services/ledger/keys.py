"""Keys in files: made once, readable by their owner alone, never replaced.

python -m services.ledger.keys FILE      makes the sender's key if it is not there, prints its address
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_account import Account
from eth_account.signers.local import LocalAccount

from openledger.artifacts import sync_folder


class KeyFileError(Exception):
    """The file does not hold a usable key; the text says why."""


def account(path: Path) -> LocalAccount:
    """The account whose key (0x hex) the file holds; made at random if there is no file.  Raises `KeyFileError`."""
    text = _kept(path, _new_account_key).decode("ascii", "replace").strip()
    try:
        found: LocalAccount = Account.from_key(text)
    except Exception as error:  # eth-account raises many kinds; none may show the key
        raise KeyFileError(f"{path} does not hold a private key: 0x and 64 hex digits") from error
    return found


def session_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs sessions (PEM, PKCS 8); made at random if there is no file.  Raises `KeyFileError`."""
    pem = _kept(path, _new_session_key)
    try:
        key = serialization.load_pem_private_key(pem, None)
    except ValueError as error:
        raise KeyFileError(f"{path} does not hold a private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a key of another kind than Ed25519")
    return key


def _new_account_key() -> bytes:
    return ("0x" + bytes(Account.create().key).hex()).encode()


def _new_session_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's bytes; whoever comes second keeps the first one's."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, make())
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeyFileError(f"{path} can be read by others than its owner: chmod 600 {path}")
    return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    """The whole file or none, on disk, and never over another one."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # readable by its owner alone
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        Path(partial).unlink()
    sync_folder(path.parent)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        raise SystemExit(2)
    sys.stdout.write(account(Path(sys.argv[1])).address.lower() + "\n")
