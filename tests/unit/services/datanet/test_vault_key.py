from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from openledger.key_files import KeyFileError
from services.datanet.__main__ import MIGRATIONS
from services.datanet.vault_key import open_vault
from services.kit.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/datanet.db")
    made.migrate(MIGRATIONS)
    yield made
    made.close()


def test_the_key_is_made_once_for_its_owner_alone(database, tmp_path):
    file = tmp_path / "keys" / "vault.key"
    sealed = open_vault(file, database, tmp_path / "shares").seal(b"content", b"")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(bytes.fromhex(file.read_text())) == 32
    assert open_vault(file, database, tmp_path / "shares").open(sealed, b"") == b"content"


def test_a_key_that_is_gone_is_not_replaced(database, tmp_path):
    file = tmp_path / "vault.key"
    open_vault(file, database, tmp_path / "shares")
    file.unlink()
    with pytest.raises(KeyFileError, match="is gone"):
        open_vault(file, database, tmp_path / "shares")
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "says"), (("ab" * 32, "another key"), ("ab" * 31, "does not hold"), ("no hex", "does not hold"))
)
def test_another_key_or_none_is_refused(database, tmp_path, text, says):
    file = tmp_path / "vault.key"
    open_vault(file, database, tmp_path / "shares")
    file.write_text(text)
    with pytest.raises(KeyFileError, match=says):
        open_vault(file, database, tmp_path / "shares")


def test_a_key_that_others_can_read_is_refused(database, tmp_path):
    file = tmp_path / "vault.key"
    open_vault(file, database, tmp_path / "shares")
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_vault(file, database, tmp_path / "shares")


def test_the_database_does_not_hold_the_key(database, tmp_path):
    file = tmp_path / "vault.key"
    open_vault(file, database, tmp_path / "shares")
    secret = bytes.fromhex(file.read_text())
    for found in tmp_path.glob("datanet.db*"):
        assert secret not in found.read_bytes()
        assert secret.hex().encode() not in found.read_bytes()


def test_shares_that_are_gone_are_not_replaced(database, tmp_path):
    file, folder = tmp_path / "vault.key", tmp_path / "shares"
    sealed = open_vault(file, database, folder).seal(b"content", b"")
    with contextlib.closing(sqlite3.connect(tmp_path / "datanet.db")) as raw:
        raw.execute("INSERT INTO record_key VALUES ('r', ?)", (sealed.wrapped,))
        raw.commit()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="shares is gone"):
        open_vault(file, database, folder)
    (tmp_path / "elsewhere").rename(folder)
    assert open_vault(file, database, folder).open(sealed, b"") == b"content"
