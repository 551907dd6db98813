"""How likely each token was, for who asks for it."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from dataclasses import replace

import pytest

from openledger.openlora.v1 import openlora_pb2
from services.openlora.engine import TokenLogprobs
from tests.fake_engine import FakeEngine


class Talkative(FakeEngine):
    """Says of every token how likely it was, and names one other."""

    samples = frozenset({"logprobs"})

    async def generate(self, request):
        async with aclosing(super().generate(request)) as deltas:
            async for delta in deltas:
                likely = (TokenLogprobs(token, -0.5, ((token, -0.5), (100, -2.0))) for token in delta.token_ids)
                yield replace(delta, logprobs=tuple(likely))


def asking(request_id: str) -> openlora_pb2.GenerateRequest:
    sampling = openlora_pb2.Sampling(max_tokens=50, logprobs=2)
    return openlora_pb2.GenerateRequest(model="base", prompt="hm", request_id=request_id, sampling=sampling)


@pytest.mark.parametrize("whole", (False, True), ids=("stream", "one message"))
async def test_every_token_is_told_of_once_and_not_again_when_the_answer_is_given_again(world, whole):
    engine, request = Talkative(), asking(str(uuid.uuid4()))
    async with world.life(engine) as client:
        if whole:
            likely = list((await client.call(client.openlora.GenerateAnswer, request)).logprobs)
        else:
            chunks = [chunk async for chunk in client.stream(client.openlora.Generate, request, 30)]
            likely = [each for chunk in chunks for each in chunk.logprobs]
        again = await client.call(client.openlora.GenerateAnswer, request)
        [trace] = await world.traces()
    assert trace.sampling["logprobs"] == 2
    assert tuple(each.chosen.token_id for each in likely) == trace.completion_token_ids
    assert "".join(each.chosen.text for each in likely) == again.text
    assert {(top.token_id, top.text, top.logprob) for each in likely for top in each.top[1:]} == {(100, "a", -2.0)}
    assert not again.logprobs
