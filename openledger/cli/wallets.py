"""A person's key from a file: plain (0x hex), or an encrypted keystore (Web3 Secret Storage, as geth's and cast's)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer
from eth_account import Account

from openledger import key_files
from openledger.client import Wallet

PASSWORD = "OPENLEDGER_KEY_PASSWORD"  # noqa: S105 - the name of a variable
_LARGEST = 100_000


def open_wallet(file: Path) -> Wallet:
    """The wallet.  A keystore's password is asked for, unless the environment has it.

    Raises `ValueError`, `KeyFileError` and `OSError`.
    """
    if not file.is_file():
        raise ValueError(f"there is no key in {file}: --key names a file that holds one")
    with file.open("rb") as opened:
        text = opened.read(_LARGEST).decode("utf-8", "replace")
    if not text.lstrip().startswith("{"):
        return Wallet(key_files.private_key(file))
    password = os.environ.get(PASSWORD)
    if password is None:
        password = typer.prompt(f"Password of {file}", hide_input=True, err=True)
    try:
        return Wallet("0x" + bytes(Account.decrypt(json.loads(text), password)).hex())
    except (ValueError, TypeError, KeyError, NotImplementedError):
        raise ValueError(f"{file} cannot be opened: the password is another one, or it is no keystore") from None
