from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from eth_account import Account

from openledger.cli.connection import KEY_FILE, Connection, run
from openledger.cli.wallets import PASSWORD
from openledger.key_files import private_key


async def test_an_installations_folder_says_where_and_who(tmp_path: Path) -> None:
    async with Connection(tmp_path, 9000).client() as client:
        assert client.endpoints.factory == "127.0.0.1:9003"
        made = client.wallet.address
    async with Connection(tmp_path, 9000).client() as client:
        assert client.wallet.address == made, "the same folder, the same person"
    assert (tmp_path / "keys" / "builder.key").stat().st_mode & 0o777 == 0o600


async def test_options_and_environment_say_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.key").write_text("0x" + "11" * 32)
    (tmp_path / "mine.key").chmod(0o600)
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "mine.key"))
    async with Connection(tmp_path, at=("factory=10.0.0.7:1", "ledger=h:2")).client() as client:
        assert (client.endpoints.factory, client.endpoints.ledger) == ("10.0.0.7:1", "h:2")
        of_environment = client.wallet.address
    (tmp_path / "other.key").write_text("0x" + "22" * 32)
    (tmp_path / "other.key").chmod(0o600)
    async with Connection(tmp_path, key=tmp_path / "other.key").client() as client:
        assert client.wallet.address != of_environment
    async with Connection(tmp_path).client(signed_in=False) as client:
        assert client.wallet is None


async def test_a_key_that_is_named_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no key in"):
        async with Connection(tmp_path, key=tmp_path / "mistyped.key").client():
            pass
    assert not (tmp_path / "mistyped.key").exists()


async def test_a_command_about_money_makes_no_key_and_uses_the_one_of_its_role(tmp_path: Path) -> None:
    for role in ("builder", "operator"):
        with pytest.raises(ValueError, match=f"no key in .*/keys/{role}.key"):
            async with Connection(tmp_path, role=role, makes_key=False).client():
                pass
    assert not (tmp_path / "keys").exists()
    made = private_key(tmp_path / "keys" / "operator.key")
    async with Connection(tmp_path, role="operator", makes_key=False).client() as client:
        assert client.wallet.private_key == made


async def test_that_a_key_is_new_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in (str(tmp_path / "keys" / "builder.key"), ""):
        async with Connection(tmp_path).client() as client:
            assert client.wallet is not None
        told = capsys.readouterr()
        assert (said in told.err, bool(told.err), told.out) == (True, bool(said), "")


async def test_an_encrypted_keystore_opens_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "me.json").write_text(json.dumps(Account.encrypt("0x" + "11" * 32, "correct horse", "pbkdf2", 10)))
    monkeypatch.setenv(PASSWORD, "correct horse")
    async with Connection(tmp_path, key=tmp_path / "me.json").client() as client:
        assert client.wallet.private_key == "0x" + "11" * 32


@pytest.mark.parametrize("text", ("factory", "factory=nowhere", "kitchen=h:1"))
async def test_a_place_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="--at"):
        async with Connection(tmp_path, at=(text,)).client():
            pass


async def test_half_of_what_tls_takes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLEDGER_TLS_KEY_FILE", "tls.key")
    with pytest.raises(ValueError, match="TLS takes OPENLEDGER_TLS_AUTHORITY_FILE"):
        async with Connection(tmp_path).client():
            pass


def test_trouble_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken() -> None:
        raise OSError("the disk is gone")

    with pytest.raises(typer.Exit) as ended:
        run(broken)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "the disk is gone\n"
