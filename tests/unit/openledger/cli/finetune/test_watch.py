from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from openledger.cli.finetune import watch
from openledger.client import ApiError
from openledger.factory.v1 import factory_pb2 as pb


class Line:
    """A client whose stream breaks as often as is written: each entry is the events before the next break."""

    def __init__(self, *parts: list[int], code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.parts, self.code, self.asked = list(parts), code, list[int]()
        self.factory = self

    WatchFineTune = None

    async def stream(self, method: Any, request: pb.WatchFineTuneRequest, timeout: float) -> AsyncIterator[Any]:
        self.asked.append(request.after_sequence)
        for sequence in self.parts.pop(0):
            yield pb.FineTuneEvent(sequence=sequence)
        if self.parts:
            raise ApiError(self.code, "AWAY", "the line broke", {}, None)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PAUSES", (0.0, 0.0))


async def seen(line: Line) -> list[int]:
    return [event.sequence async for event in watch.events(line, "fineTunes/x")]


async def test_a_broken_line_is_taken_up_after_the_last_event_seen() -> None:
    line = Line([1, 2], [], [3], [4])
    assert await seen(line) == [1, 2, 3, 4]
    assert line.asked == [0, 2, 2, 3]


async def test_a_factory_that_stays_away_is_told() -> None:
    with pytest.raises(ApiError, match="the line broke"):
        await seen(Line([1], [], [], [], []))


async def test_a_refusal_is_told_at_once() -> None:
    line = Line([], [1], code=grpc.StatusCode.NOT_FOUND)
    with pytest.raises(ApiError):
        await seen(line)
    assert line.asked == [0]


def test_progress_in_one_line() -> None:
    progress = pb.TrainingProgress(step=3, steps=9, loss=2.5, tokens_per_second=120.4, seconds_left=61.0)
    assert watch.words(pb.FineTuneEvent(progress=progress)) == "step 3/9  loss 2.500  120 tok/s  61 s left"
    preparing = pb.FineTuneEvent(message="loading", progress=pb.TrainingProgress(steps=9))
    assert watch.words(preparing) == "loading"
