"""The service's secret, from its file: made once, and never taken for another one; and the records' shares beside it.

Without them nothing of the records in the database can be read, and nothing is found again that was given before: a
service that has sealed something and does not find its key or its shares, or finds another key, does not start.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import Connection, func, select

from openledger import key_files
from openledger.key_files import KeyFileError
from services.datanet import store
from services.datanet.shares import Shares
from services.datanet.tables import KEY, VAULT
from services.datanet.vault import SECRET_BYTES, WRAPPED_BYTES, Vault
from services.kit.database import Database

_ID = "vault"


def open_vault(file: Path, database: Database, folder: Path) -> Vault:
    """The vault of the key in a file, 64 hex digits; made at random for a database in which none has sealed yet.

    folder: of the records' shares.

    Raises `KeyFileError` for a file that is gone, holds no key or another one than the one in use, and `OSError`.
    """
    if database.read_now(_mark) is not None and not file.exists():
        raise KeyFileError(f"{file} is gone: it opens the records in the database. Put it back from a copy")
    shares = Shares(folder)
    if shares.is_empty() and database.read_now(_needs_shares):
        raise KeyFileError(
            f"{folder} is gone: what is in it opens the records in the database. Put it back from a copy"
        )
    vault = Vault(_secret(file), shares)
    mark = vault.token("mark", b"")
    if database.write_now(lambda c: _marked(c, mark)) != mark:
        raise KeyFileError(f"{file} holds another key than the one that opens the records in the database")
    return vault


def _secret(file: Path) -> bytes:
    text = key_files.keep(file, lambda: secrets.token_hex(SECRET_BYTES).encode())
    try:
        secret = bytes.fromhex(text.decode().strip())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise KeyFileError(f"{file} does not hold a vault's key: {2 * SECRET_BYTES} hex digits")
    return secret


def _needs_shares(connection: Connection) -> bool:
    """Whether a record's key was wrapped under a share."""
    with_share = func.length(KEY.c.wrapped) > WRAPPED_BYTES
    return connection.execute(select(KEY.c.record).where(with_share).limit(1)).first() is not None


def _mark(connection: Connection) -> bytes | None:
    found: bytes | None = connection.execute(select(VAULT.c.mark).where(VAULT.c.id == _ID)).scalar()
    return found


def _marked(connection: Connection, mark: bytes) -> bytes:
    """The mark of the first key that the database was used with."""
    connection.execute(store.insert_new(connection, VAULT).values(id=_ID, mark=mark))
    return _mark(connection) or b""
