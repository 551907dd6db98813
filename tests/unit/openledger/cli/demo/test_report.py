from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from openledger.cli.demo import report, run
from openledger.cli.demo.report import must_balance
from openledger.cli.demo.screen import Screen
from openledger.ledger.v1 import ledger_pb2


def test_books_that_balance_are_passed_over_in_silence():
    must_balance(ledger_pb2.Conservation(fees="10", paid="7", held="3", difference="0"))


def test_a_unit_that_is_nowhere_fails_the_demo():
    with pytest.raises(RuntimeError, match="of 10 in fees, 6 were paid and 3 are held, which is 1 off"):
        must_balance(ledger_pb2.Conservation(fees="10", paid="6", held="3", difference="1"))


@pytest.fixture
def screen() -> Screen:
    """A narrow terminal; what is on it is in `console.file`."""
    screen = Screen()
    screen.console = Console(file=io.StringIO(), width=40, highlight=False)
    return screen


def test_what_people_copy_stands_in_one_line_whatever_the_folder_is_called(screen, monkeypatch):
    monkeypatch.setattr(report, "_show_answer", lambda *_: None)
    root, sent, folder = "0x" + "1" * 64, "0x" + "2" * 64, Path("/home/ada/my [red]demo[/bold] of the first of May")
    story = SimpleNamespace(
        answers=[{"response": "responses/" + "3" * 32}],
        conservation=ledger_pb2.Conservation(fees="10", paid="7", held="3", difference="0"),
        epoch=ledger_pb2.Epoch(name="epochs/1", root=root, transaction=sent, bundle="4" * 64),
        claims=[ledger_pb2.Claim(account="accounts/0x" + "a" * 40, amount="1", transaction=sent)],
    )
    report.show(screen, story, folder, "0x" + "5" * 40)
    lines = screen.console.file.getvalue().splitlines()
    at, by = f"'{folder}'", "--signer 0x" + "5" * 40
    for words in (
        f"root {root}",
        f"OPEN  {sent}",
        f"openledger verify {at}/receipts/*.json {by}",
        f"openledger verify epoch {'4' * 64} --artifacts {at}/artifacts {by}",
        f"openledger explain responses/{'3' * 32} --data {at} --key {at}/keys/payer.key",
    ):
        assert any(line.endswith(words) for line in lines), words


def test_the_last_lines_of_a_log_are_shown_as_they_are(screen):
    told = SimpleNamespace(_tell=screen.line)
    run.Demo._process(told, "supervisor", "openlora died: [/usr/lib] [bold]x\\")
    run.Demo._converting(told, "model [/x] is made", 1.0)
    said = screen.console.file.getvalue().replace("\n", " ")
    assert "[/usr/lib] [bold]x\\" in said
    assert "[/x]" in said
