"""A person's key from a file: plain (0x hex), or an encrypted keystore (Web3 Secret Storage, as geth's and cast's)."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from openledger import key_files
from openledger.client import Wallet

PASSWORD = "OPENLEDGER_KEY_PASSWORD"  # noqa: S105 - the name of a variable
PASSWORD_FILE = "OPENLEDGER_KEY_PASSWORD_FILE"  # noqa: S105 - as above


def open_wallet(file: Path) -> Wallet:
    """The wallet.  A keystore's password is asked for, unless the environment has it, or names a file that has.

    Never makes a key.  Raises `ValueError`, `KeyFileError` and `OSError`.
    """
    if not file.is_file():
        raise ValueError(f"there is no key in {file}: --key names a file that holds one")
    return Wallet(key_files.unlock(file, lambda: _password(file)))


def _password(file: Path) -> str:
    told = os.environ.get(PASSWORD)
    if told is not None:
        return told
    if named := os.environ.get(PASSWORD_FILE):
        return key_files.password(Path(named))
    return str(typer.prompt(f"Password of {file}", hide_input=True, err=True))
