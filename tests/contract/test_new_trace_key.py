"""The key that opens payers' keys is changed, on SQLite and PostgreSQL: they are as before, and the old opens none."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openledger.key_files import KeyFileError
from services.kit import new_trace_key
from services.kit.payer_keys import IN_USE, MARGIN, PayerKeys, key_in, service_key
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
    assert await keys(database, new).named({key.name for key in before}) == {key.name: key for key in before}
    with pytest.raises(KeyFileError, match="holds another key"):
        keys(database, old)
    then = rows(database)
    assert change() == 0
    assert rows(database) == then, "again changes nothing"


async def test_what_payers_are_answered_after_it_is_sealed_under_keys_that_the_old_one_never_opened(
    database, old, change, tmp_path
):
    """Whoever has the old key, and a copy of before, has payers' keys of before."""
    before = await keys(database, old).of(PAYER)
    copy = rows(database)
    assert change() == 0
    now = keys(database, tmp_path / "new.key")
    after = await now.of(PAYER)
    assert after.name not in {row.name for row in copy}
    assert await now.of(PAYER) == after, "a month long"
    assert change() == 0
    assert await keys(database, tmp_path / "new.key").of(PAYER) == after, "which are not changed again"
    assert await now.named({before.name}) == {before.name: before}


@pytest.mark.parametrize("age", (timedelta(), timedelta(days=3), timedelta(days=45)))
async def test_a_key_that_seals_no_more_opens_until_the_last_text_that_it_sealed_has_gone(
    database, old, change, tmp_path, age
):
    made = datetime.now(UTC) - age
    aged = PayerKeys(database, METADATA, service_key(old, database, METADATA), clock=made.timestamp)
    key = await aged.of(PAYER)
    assert change() == 0
    new, last = key_in(tmp_path / "new.key"), min(datetime.now(UTC), made + IN_USE)
    later = PayerKeys(database, METADATA, new, clock=(last + MARGIN + timedelta(minutes=1)).timestamp)
    await later.destroy_unused(last - timedelta(minutes=1))
    assert await later.named({key.name}) == {key.name: key}
    await later.destroy_unused(None)
    assert await later.named({key.name}) == {}


async def test_what_a_service_that_still_ran_made_under_the_old_key_is_changed_by_a_second_call(
    database, old, change, tmp_path
):
    running = keys(database, old)
    first = await running.of(PAYER)
    assert change() == 0
    late = await running.of(OTHER)
    assert change() == 0
    now = keys(database, tmp_path / "new.key")
    assert await now.named({first.name, late.name}) == {first.name: first, late.name: late}


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


async def test_the_databases_url_is_read_from_where_no_one_else_sees_it(
    database, database_url, old, tmp_path, monkeypatch, capsys
):
    mine, new = await keys(database, old).of(PAYER), tmp_path / "new.key"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{database_url}\n"))
    assert new_trace_key.main(["-", str(old), str(new)]) == 0
    assert await keys(database, new).named({mine.name}) == {mine.name: mine}
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert new_trace_key.main(["-", str(old), str(new)]) == 2
