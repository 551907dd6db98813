"""`openledger up`: what it says, in the words of others, and where everything is."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from openledger.cli import up
from openledger.cli.installation import Installation


class Dying:
    """A supervisor that has something to tell, and then to go."""

    def __init__(self, waves, tell) -> None:
        self.tell = tell

    async def __aenter__(self):
        self.tell("supervisor", "ledger died 5 times in a minute:\n  File [/usr/lib/python3.11] [red]")
        return self

    async def __aexit__(self, *_):
        pass

    async def watch(self, work):
        work.close()


@pytest.mark.parametrize("as_json", (False, True))
async def test_a_logs_last_lines_and_a_folders_name_are_shown_as_they_are(tmp_path, monkeypatch, capsys, as_json):
    folder = tmp_path / "my [red] data [" / "bold]"
    monkeypatch.setattr(up, "Supervisor", Dying)
    monkeypatch.setattr(up.base_models, "locate", lambda name, report: report(f"{name} [/is] there", 1.0))
    console = Console(file=io.StringIO(), width=500, highlight=False)
    await up.run(Installation(folder), console, as_json=as_json)
    said = console.file.getvalue()
    assert "[/usr/lib/python3.11] [red]" in said
    assert "[/is] there" in said
    if as_json:
        assert json.loads(capsys.readouterr().out)["artifacts"] == str(folder / "artifacts")
    else:
        assert str(folder / "artifacts") in said
