"""Secrets in files: made once, readable by their owner alone, never replaced.

Whoever comes first makes the file, and everybody else, at the same moment or after a crash, finds the same bytes.
What it does not know: what the keys are for.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from eth_account import Account

from openledger.artifacts import sync_folder


class KeyFileError(RuntimeError):
    """The file does not hold a usable secret; the text says why, and never shows what it holds."""


def keep(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's bytes; `make` is asked for them if there is no file.

    Raises `KeyFileError` when others than its owner can read the file, and `OSError`.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, make())
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise KeyFileError(f"{path} can be read by others than its owner: chmod 600 {path}")
        return file.read()


def private_key(path: Path) -> str:
    """The account's key that the file holds, as 0x hex; made at random if there is no file.  Raises as `keep`."""
    text = keep(path, _new_private_key).decode("ascii", "replace").strip()
    try:
        Account.from_key(text)
    except Exception:  # noqa: BLE001 - eth-account raises many kinds, some with the key in their text
        raise KeyFileError(f"{path} does not hold a private key: 0x and 64 hex digits") from None
    return text


def _new_private_key() -> bytes:
    return ("0x" + bytes(Account.create().key).hex()).encode()


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
