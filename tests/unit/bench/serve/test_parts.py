"""Parts that were measured are kept, and measured again when the code is another or when they are named."""

from __future__ import annotations

import json

import pytest

from bench import result, serve


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Which parts are measured, of two that take no time; the commit is `one` until somebody changes it."""
    found: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self.name = name

        async def measure(self, size):
            found.append(self.name)
            return [{"kind": self.name, "tries": len(found)}]

        def figures(self, rows):
            return {self.name: rows[0]["tries"]}

    monkeypatch.setenv("OPENLEDGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(result, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(result, "commit", lambda: "one")
    monkeypatch.setattr(serve, "PARTS", ("first", "second"))
    monkeypatch.setattr(serve, "import_module", lambda name: Part(name.rpartition(".")[2]))
    return found


def figures() -> dict[str, float]:
    return json.loads((result.FOLDER / "serve.json").read_text())["figures"]


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(measured):
    serve.main(quick=False, parts=("second",))
    assert figures() == {"second": 1}
    serve.main(quick=False)
    assert measured == ["second", "first"]
    assert figures() == {"first": 2, "second": 1}


def test_what_another_commit_measured_is_measured_again(measured, monkeypatch):
    serve.main(quick=False)
    monkeypatch.setattr(result, "commit", lambda: "two")
    serve.main(quick=False)
    assert measured == ["first", "second"] * 2


def test_a_part_that_is_named_is_measured_anew_and_the_others_stay(measured):
    serve.main(quick=False)
    serve.main(quick=False, parts=("first",))
    assert measured == ["first", "second", "first"]
    assert figures() == {"first": 3, "second": 2}
    parts = json.loads((result.FOLDER / "serve.json").read_text())["settings"]["parts"]
    assert {name: about["commit"] for name, about in parts.items()} == {"first": "one", "second": "one"}


def test_a_small_run_does_not_touch_what_a_full_one_kept(measured):
    serve.main(quick=False)
    serve.main(quick=True, parts=("first",))
    assert figures() == {"first": 1, "second": 2}


def test_a_part_that_there_is_not_is_named(measured):
    with pytest.raises(SystemExit, match="no part third: choose from first, second"):
        serve.main(quick=False, parts=("third",))
