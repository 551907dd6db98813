"""The embedded chain's storage: what is committed is all there, what is not is not there at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from services.ledger.devchain.storage import SqliteStorage, Unusable


def test_writes_are_seen_before_they_are_committed(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "chain")
    storage[b"a"] = b"1"
    assert storage[b"a"] == b"1"
    assert b"a" in storage
    del storage[b"a"]
    assert b"a" not in storage
    with pytest.raises(KeyError):
        del storage[b"a"]


def test_only_what_was_committed_is_found_again(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "chain")
    storage[b"kept"], storage[b"deleted"] = b"1", b"2"
    storage.set_setting("name", "kept")
    storage.commit()
    del storage[b"deleted"]
    storage.commit()
    storage[b"kept"] = b"changed"
    storage[b"lost"] = b"3"
    storage.set_setting("name", "lost")
    storage.close()
    again = SqliteStorage(tmp_path / "chain")
    assert again[b"kept"] == b"1"
    assert again.setting("name") == "kept"
    assert b"deleted" not in again
    assert b"lost" not in again


def test_rollback_forgets_what_was_written_and_deleted(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "chain")
    storage[b"a"] = b"1"
    storage.commit()
    storage[b"b"] = b"2"
    storage.set_setting("name", "value")
    del storage[b"a"]
    storage.rollback()
    assert storage[b"a"] == b"1"
    assert b"b" not in storage
    assert storage.setting("name") is None


def test_a_commit_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "chain")
    storage[b"a"] = b"1"
    storage.set_setting("name", None)  # type: ignore[arg-type]  # the table refuses it, after the nodes were written
    with pytest.raises(sqlite3.IntegrityError):
        storage.commit()
    storage.rollback()
    storage.close()
    assert b"a" not in SqliteStorage(tmp_path / "chain")


def test_the_file_is_held_exclusively(tmp_path: Path) -> None:
    first = SqliteStorage(tmp_path / "chain")
    with pytest.raises(Unusable, match="does another process use this chain"):
        SqliteStorage(tmp_path / "chain")
    first.close()
    assert SqliteStorage(tmp_path / "chain").setting("name") is None
