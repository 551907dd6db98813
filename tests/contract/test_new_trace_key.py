"""The key that opens payers' keys is changed, on SQLite and PostgreSQL: they are as before, and the old opens none."""

from __future__ import annotations

from pathlib import Path

import pytest

from openledger.key_files import KeyFileError
from services.kit import new_trace_key
from services.kit.payer_keys import PayerKeys, service_key
from tests.contract.test_payer_keys import METADATA, OTHER, PAYER, database, rows

__all__ = ["database"]


def file(folder: Path, name: str, key: bytes) -> Path:
    path = folder / name
    path.touch(0o600)
    path.write_text(key.hex())
    return path


@pytest.fixture
def old(tmp_path) -> Path:
    return file(tmp_path, "old.key", b"o" * 32)


@pytest.fixture
def change(database, database_url, old, tmp_path):
    return lambda new=tmp_path / "new.key", old=old: new_trace_key.main([database_url, str(old), str(new)])


def keys(database, path: Path) -> PayerKeys:
    return PayerKeys(database, METADATA, service_key(path, database, METADATA))


async def test_every_payers_key_is_as_before_and_the_old_key_opens_none(database, old, change, tmp_path, capsys):
    before = [await keys(database, old).of(payer) for payer in (PAYER, OTHER)]
    assert change() == 0
    assert "2 payers' keys" in capsys.readouterr().err
    new = tmp_path / "new.key"
    assert [await keys(database, new).of(payer) for payer in (PAYER, OTHER)] == before
    with pytest.raises(KeyFileError, match="holds another key"):
        keys(database, old)
    then = rows(database)
    assert change() == 0
    assert rows(database) == then, "again changes nothing"


async def test_what_a_service_that_still_ran_made_under_the_old_key_is_changed_by_a_second_call(
    database, old, change, tmp_path
):
    running = keys(database, old)
    first = await running.of(PAYER)
    assert change() == 0
    late = await running.of(OTHER)
    assert change() == 0
    now = keys(database, tmp_path / "new.key")
    assert [await now.of(PAYER), await now.of(OTHER)] == [first, late]


async def test_where_one_key_opens_with_neither_nothing_is_changed(database, old, change, tmp_path, capsys):
    await keys(database, old).of(PAYER)
    stranger = PayerKeys(database, METADATA, b"s" * 32)
    await stranger.of(OTHER)
    before = rows(database)
    assert change() == 3
    assert "nothing was changed" in capsys.readouterr().err
    assert rows(database) == before


@pytest.mark.parametrize("text", ("", "zz", "00" * 31, "00" * 33))
async def test_a_file_that_holds_no_key_is_refused(database, old, change, tmp_path, text, capsys):
    await keys(database, old).of(PAYER)
    bad = file(tmp_path, "bad.key", b"")
    bad.write_text(text)
    before = rows(database)
    assert change(new=bad) == change(old=bad) == 2
    assert "does not hold a key" in capsys.readouterr().err
    assert rows(database) == before


def test_what_is_not_there_is_said(database_url, tmp_path, old, capsys):
    assert new_trace_key.main([]) == 2
    assert new_trace_key.main([database_url, str(tmp_path / "none.key"), str(tmp_path / "new.key")]) == 2
    assert "none.key is not there" in capsys.readouterr().err
    assert not (tmp_path / "new.key").exists()
    assert new_trace_key.main([database_url, str(old), str(tmp_path / "new.key")]) == 3, "no such table"
    assert new_trace_key.main(["no url", str(old), str(tmp_path / "new.key")]) == 2
