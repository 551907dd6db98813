from __future__ import annotations

import pytest

from openledger.cli.demo import report, run
from openledger.cli.demo.screen import Screen
from openledger.cli.demo.state import State
from openledger.cli.installation import Installation
from openledger.ledger.v1 import ledger_pb2
from tests.needs import needs

STEPS = ("_contribute", "_tune", "_pay_in", "_ask", "_attribute", "_settle", "_verify")


@needs("hpo")
@pytest.mark.parametrize(("difference", "next_run"), (("0", 2), ("1", 1)))
async def test_a_demo_whose_books_do_not_balance_fails_and_is_not_done_with(
    tmp_path, monkeypatch, difference, next_run
):
    async def nothing(*_):
        pass

    for step in STEPS:
        monkeypatch.setattr(run.Demo, step, nothing)
    monkeypatch.setattr(report, "write", lambda *_: {})
    monkeypatch.setattr(report, "show", lambda *_: None)
    demo = run.Demo(Installation(tmp_path), Screen())
    demo.story.conservation = ledger_pb2.Conservation(fees="10", paid="7", held="3", difference=difference)
    if difference == "0":
        await demo._tell_story(tmp_path)
    else:
        with pytest.raises(RuntimeError, match="the books do not balance"):
            await demo._tell_story(tmp_path)
    assert State.load(tmp_path / "keys" / "demo.json").run == next_run
