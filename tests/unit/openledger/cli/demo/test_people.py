"""A question of the demo: put once, and anew only where an answer to it was broken off."""

from __future__ import annotations

from pathlib import Path

import pytest

from openledger.cli.demo import people
from openledger.cli.demo.state import State
from openledger.openlora.v1 import openlora_pb2 as pb


class Answering:
    """Stands for a client: so many requests were broken off before, by whatever ids they come."""

    def __init__(self, broken_off: int) -> None:
        self.openlora, self.broken_off, self.asked = self, broken_off, list[str]()
        self.Chat = None

    async def stream(self, _method, request, _timeout):
        if request.request_id not in self.asked:
            self.asked.append(request.request_id)
        cut = self.asked.index(request.request_id) < self.broken_off
        reason = pb.FINISH_REASON_CANCELLED if cut else pb.FINISH_REASON_STOP
        yield pb.AnswerChunk(response=f"responses/{request.request_id}", text="half" if cut else "whole")
        yield pb.AnswerChunk(response=f"responses/{request.request_id}", summary=pb.AnswerSummary(finish_reason=reason))


@pytest.mark.parametrize("broken_off", (0, 1, 3))
async def test_a_question_whose_answer_was_broken_off_is_put_anew(tmp_path: Path, broken_off):
    state, client = State(tmp_path / "state.json"), Answering(broken_off)
    for _ in range(2):  # and the next start finds the same answer
        response, text, summary = await people.ask(client, state, "base", "q1", "hm?", lambda _: None)
        assert (text, summary.finish_reason) == ("whole", pb.FINISH_REASON_STOP)
        assert response == f"responses/{client.asked[broken_off]}"
    assert len(client.asked) == broken_off + 1
    assert client.asked[0] == state.request_id("ask/q1")
