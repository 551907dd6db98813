"""What becomes of an error in the thread that computes."""

from __future__ import annotations

import pytest

from services.openlora.engine_transformers import TransformersEngine


class Running:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def hand_over(self, item: object) -> None:
        self.heard.append(item)


@pytest.mark.parametrize("error", (MemoryError(), RuntimeError("a bug of ours")))
def test_what_goes_wrong_here_ends_the_request_and_is_not_called_its_fault(monkeypatch, error):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(TransformersEngine, "_next", fails)
    engine, running = TransformersEngine.__new__(TransformersEngine), Running()
    assert not engine._goes_on(running, None)
    assert running.heard == [error]
