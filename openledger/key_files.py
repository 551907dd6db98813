"""Secrets in files: made once, readable by their owner alone, never replaced.

Whoever comes first makes the file, and everybody else, at the same moment or after a crash, finds the same bytes.
An account's key is in it plainly (0x hex), or locked with a password (a keystore: Web3 Secret Storage, as geth's and
cast's).  What it does not know: what the keys are for.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from eth_account import Account

from openledger.artifacts import sync_folder

_LARGEST = 100_000


class KeyFileError(RuntimeError):
    """The file does not hold a usable secret; the text says why, and never shows what it holds."""


def keep(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's bytes; `make` is asked for them if there is no file.

    Raises `KeyFileError` when others than its owner can read the file, and `OSError`.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, make())
    return _read(path)


def private_key(path: Path) -> str:
    """The account's key that the file holds, as 0x hex; made at random if there is no file.  Raises as `keep`."""
    return _plain(path, keep(path, new_private_key))


def unlock(path: Path, password: Callable[[], str]) -> str:
    """The account's key, as 0x hex, of a file that is there: plain, or a keystore, for which `password` is asked.

    A keystore may be readable by others, for that is what its password is for.  Raises `KeyFileError`, and `OSError`.
    """
    if not is_keystore(path):
        return _plain(path, _read(path))
    try:
        return "0x" + bytes(Account.decrypt(json.loads(path.read_bytes()), password())).hex()
    except (ValueError, TypeError, KeyError, NotImplementedError):
        raise KeyFileError(f"{path} cannot be opened: the password is another one, or it is no keystore") from None


def is_keystore(path: Path) -> bool:
    """Whether the file is meant as one: it holds a JSON object.  Raises `OSError`."""
    with path.open("rb") as file:
        return file.read(_LARGEST).lstrip().startswith(b"{")


def locked(private_key: str, password: str) -> bytes:
    """A keystore of that key, for `keep`."""
    return json.dumps(Account.encrypt(private_key, password)).encode()  # type: ignore[arg-type]


def password(path: Path) -> str:
    """The password that a file holds, without the line's end.  Raises `KeyFileError` as `keep`, and `OSError`."""
    try:
        return _read(path).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} does not hold a password: it is no text") from None


def new_private_key() -> bytes:
    """A key made at random, for `keep`."""
    return ("0x" + bytes(Account.create().key).hex()).encode()


def _plain(path: Path, data: bytes) -> str:
    text = data.decode("ascii", "replace").strip()
    try:
        Account.from_key(text)
    except Exception:  # noqa: BLE001 - eth-account raises many kinds, some with the key in their text
        raise KeyFileError(f"{path} does not hold a private key: 0x and 64 hex digits") from None
    return text


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        if _exposed(os.fstat(file.fileno())):
            raise KeyFileError(f"{path} can be read by others than its owner: chmod 600 {path}")
        return file.read()


def _exposed(status: os.stat_result) -> bool:
    """Whether others can read it.  Root may hand it to us by a group, as Kubernetes hands out Secrets."""
    handed = status.st_uid == 0 and os.geteuid() != 0
    return bool(status.st_mode & (0o037 if handed else 0o077))


def _write(path: Path, data: bytes) -> None:
    """The whole file or none, on disk, and never over another one."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # readable by its owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # somebody was faster: theirs is the secret
            os.link(partial, path)
    finally:
        Path(partial).unlink()
    sync_folder(path.parent)
