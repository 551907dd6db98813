"""The line: nobody fills it, everybody has a turn, and names come free again."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from openledger.client import ApiError, request_id
from openledger.factory.v1 import factory_pb2 as pb
from tests.factory_world import SNAPSHOT
from tests.integration.factory.conftest import (
    LONG,
    STRANGER,
    cancel,
    create,
    creation,
    factory,
    finish,
    in_training,
    listed,
    refused,
    watch,
)

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
async def short(around, tmp_path, base):
    """The owner's client of a Factory that lets an account have two fine-tunes at once."""
    async with factory(around, tmp_path, base, max_unfinished_per_account=2) as client:
        yield client


async def test_one_account_cannot_fill_the_line(short, around, base):
    tries = await asyncio.gather(*(create(short, base, epochs=LONG + i) for i in range(6)), return_exceptions=True)
    made = [one for one in tries if isinstance(one, pb.FineTune)]
    full = [one for one in tries if isinstance(one, ApiError)]
    assert (len(made), {(one.reason, one.code) for one in full}) == (2, {("TOO_MANY_FINE_TUNES", FULL)})
    assert len(await listed(short)) == 2
    async with around.client(STRANGER, short.endpoints.factory) as stranger:
        request = creation(base, seed=5)
        request.adapter_id = "others"
        theirs = await stranger.call(stranger.factory.CreateFineTune, request)
        await cancel(stranger, theirs.name)
    await cancel(short, made[1].name)
    again = await create(short, base, seed=6)
    for job in (made[0], again):
        await cancel(short, job.name)


@pytest.mark.long
async def test_a_stranger_does_not_wait_for_everything_that_came_before(alone, around, base):
    running = await create(alone, base, epochs=LONG)
    mine = [await create(alone, base, seed=seed) for seed in (1, 2)]
    await watch(alone, running.name, until=in_training)
    async with around.client(STRANGER, alone.endpoints.factory) as stranger:
        request = creation(base, seed=3)
        request.adapter_id = "others"
        theirs = await stranger.call(stranger.factory.CreateFineTune, request)
        await cancel(alone, running.name)
        done = await finish(stranger, theirs.name)
        ends = [await finish(alone, job.name) for job in mine]
    assert all(done.end_time.ToNanoseconds() < job.end_time.ToNanoseconds() for job in ends)


async def test_a_name_that_came_to_nothing_is_free_again(short, around, base):
    made = await create(short, base, epochs=LONG)
    async with around.client(STRANGER, short.endpoints.factory) as stranger:
        await refused(create(stranger, base), "ADAPTER_TAKEN", grpc.StatusCode.ALREADY_EXISTS)
        await cancel(short, made.name)
        theirs = await create(stranger, base, seed=4)
        await refused(create(short, base), "ADAPTER_TAKEN", grpc.StatusCode.ALREADY_EXISTS)
        await cancel(stranger, theirs.name)


FILE = """
version: openledger.run.v1
adapter: letters
base: {{name: {base}}}
snapshots: [{{name: {snapshot}}}]
training:
  {value}
"""


@pytest.mark.parametrize(
    "value",
    (
        "learning_rate: 1" + "0" * 400,
        "rank: 0x" + "F" * 10_000,
        "prompt_template: '" + "{" * 16_000 + "'",
        "seed: 4294967296",
    ),
)
async def test_a_run_file_of_nonsense_is_refused_in_an_answer_that_arrives(client, base, value):
    request = pb.EstimateFineTuneRequest(run_file=FILE.format(base=base, snapshot=SNAPSHOT, value=value))
    call = client.call(client.factory.EstimateFineTune, request)
    await refused(call, "BAD_RUN_FILE", grpc.StatusCode.INVALID_ARGUMENT)


async def test_a_learning_rate_of_ten_is_refused_however_it_is_asked_for(client, base):
    asked = create(client, base, learning_rate=10.0)
    assert "at most 0.1" in (await refused(asked, "INVALID_FIELD", grpc.StatusCode.INVALID_ARGUMENT)).message
    request = pb.CreateFineTuneRequest(
        run_file=FILE.format(base=base, snapshot=SNAPSHOT, value="learning_rate: 10"), request_id=request_id()
    )
    filed = client.call(client.factory.CreateFineTune, request)
    said = (await refused(filed, "BAD_RUN_FILE", grpc.StatusCode.INVALID_ARGUMENT)).message
    assert "training.learning_rate must be a number from 1e-07 to 0.1" in said
