"""The key that signs receipts: made once, readable by its owner alone, never shown."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from eth_account import Account

from openledger.artifacts import sync_folder
from services.kit.server import StartError


def load_or_create(file: Path) -> str:
    """The private key in `file`, which is made when it is not there.  Raises `StartError` for one that cannot be used.

    Two processes that start at once end up with the same key.
    """
    if not file.exists():
        _create(file)
    if file.stat().st_mode & 0o007:
        raise StartError(f"everybody on this machine can read the signing key: chmod o-rwx {file}")
    key = file.read_text().strip()
    try:
        Account.from_key(key)
    except Exception:  # noqa: BLE001 - eth-account raises many kinds, some with the key in their text
        raise StartError(f"{file} does not hold a private key: 0x and 64 hex digits") from None
    return key


def _create(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write("0x" + Account.create().key.hex().removeprefix("0x") + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        with contextlib.suppress(FileExistsError):  # somebody was faster: theirs is the key
            os.link(new, file)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(file.parent)
