"""An OpenLoRA that is put back from a copy: what its payer took back is not told again."""

from __future__ import annotations

import pytest

from openledger.client import ApiError
from openledger.openlora.v1 import openlora_pb2 as pb
from tests.copies import Copies
from tests.fake_engine import FakeEngine


async def test_answers_that_a_payer_took_back_after_the_copy_are_told_to_nobody(world, engine):
    copies = Copies(world.folder / "copy", f"sqlite:///{world.folder}/openlora/openlora.db")
    async with world.life(engine) as client:
        one = pb.GetTraceRequest(name=(await world.ask(client, "a secret")).response)
        copies.make()
        assert (await client.call(client.openlora.GetTrace, one)).SerializeToString()
        await client.call(client.openlora.ForgetAnswers, pb.ForgetAnswersRequest())
        with pytest.raises(ApiError) as first:
            await client.call(client.openlora.GetTrace, one)
    copies.put_back()
    async with world.life(FakeEngine()) as client:
        with pytest.raises(ApiError) as again:
            await client.call(client.openlora.GetTrace, one)
        assert again.value.reason == first.value.reason
        later = pb.GetTraceRequest(name=(await world.ask(client)).response)
        assert (await client.call(client.openlora.GetTrace, later)).SerializeToString(), "and what came since is told"
