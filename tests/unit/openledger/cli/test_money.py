"""The commands about money, before they ask anybody."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from openledger.cli.main import app


@pytest.mark.parametrize(
    ("role", "words"),
    (
        ("operator", ("correct", "responses/1", "--reason", "twice")),
        ("operator", ("epoch", "close")),
        ("builder", ("balance",)),
        ("builder", ("deposit", "1")),
        ("builder", ("claim",)),
        ("builder", ("send", "1", "--to", "0x" + "1" * 40)),
    ),
)
def test_no_key_is_made_and_help_says_whose_is_used(tmp_path, monkeypatch, role, words):
    monkeypatch.delenv("OPENLEDGER_KEY_FILE", raising=False)
    folder = ["--data", str(tmp_path / "here")]
    where = [words[0], *folder, *words[1:]]
    result = CliRunner().invoke(app, where)
    assert result.exit_code == 1
    assert f"there is no key in {tmp_path}/here/keys/{role}.key" in result.output
    assert not (tmp_path / "here").exists()
    told = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "300", "TERM": "dumb"}).output
    assert f"keys/{role}.key" in " ".join(told.split())
