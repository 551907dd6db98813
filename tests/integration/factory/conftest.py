"""A Factory over real gRPC with the real trainer on a tiny model, and the calls that its owner makes."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from openledger.client import ApiError, Wallet, request_id
from openledger.factory.v1 import factory_pb2 as pb
from services.factory.__main__ import assemble
from services.kit.testing import served
from tests import tiny_model
from tests.factory_world import SNAPSHOT, Datanet, offer, snapshot_records, world

OWNER = Wallet("0x" + "11" * 32)
STRANGER = Wallet("0x" + "22" * 32)
RECORDS, CONTRIBUTORS = 40, 4
LONG = 40
"""Epochs that take long enough to come in between."""


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("base"), layers=2)


@pytest.fixture
def base(base_folder, tmp_path, monkeypatch):
    """A base model's name in the registry."""
    offer(tmp_path / "bases.toml", tiny=base_folder)
    monkeypatch.setenv("OPENLEDGER_BASE_MODELS", str(tmp_path / "bases.toml"))
    return "tiny"


@pytest.fixture
def datanet():
    return Datanet(snapshot_records(RECORDS, CONTRIBUTORS))


@pytest.fixture
async def around(tmp_path, datanet):
    async with world(tmp_path / "world", datanet) as everything:
        yield everything


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    """What workers made in this run of the tests: the same work is found and not done again."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
async def client(around, tmp_path, base, outputs):
    """The owner's client of a Factory that finds what was made before."""
    async with factory(around, tmp_path, base, executor_dir=outputs) as client:
        yield client


@pytest.fixture
async def alone(around, tmp_path, base):
    """The owner's client of a Factory that has to make everything itself."""
    async with factory(around, tmp_path, base) as client:
        yield client


@asynccontextmanager
async def factory(around, folder, *bases, **more):
    """A Factory in this process, with its files under `folder`; gives its owner's client."""
    async with (
        served(await assemble(around.config(folder, *bases, **more))) as where,
        around.client(OWNER, where) as client,
    ):
        yield client


def spec(base, /, **changes):
    values = {
        "base": base,
        "snapshots": [SNAPSHOT],
        "prompt_template": "Which is {question}",
        "completion_template": "{answer}",
        "rank": 4,
        "layers": 1,
        "epochs": 2,
        "batch_size": 8,
        "max_length": 64,
    }
    return pb.FineTuneSpec(**(values | changes))


def creation(base, /, **changes):
    return pb.CreateFineTuneRequest(spec=spec(base, **changes), adapter_id="letters", request_id=request_id())


async def create(client, base, /, **changes):
    return await client.call(client.factory.CreateFineTune, creation(base, **changes))


async def get(client, name):
    return await client.call(client.factory.GetFineTune, pb.GetFineTuneRequest(name=name))


async def cancel(client, name):
    request = pb.CancelFineTuneRequest(name=name, request_id=request_id())
    return await client.call(client.factory.CancelFineTune, request)


async def publish(client, name):
    request = pb.PublishAdapterRevisionRequest(fine_tune=name, request_id=request_id())
    return await client.call(client.factory.PublishAdapterRevision, request)


async def estimate(client, base, /, **changes):
    request = pb.EstimateFineTuneRequest(spec=spec(base, **changes))
    return await client.call(client.factory.EstimateFineTune, request)


async def listed(client):
    return list((await client.call(client.factory.ListFineTunes, pb.ListFineTunesRequest())).fine_tunes)


async def watch(client, name, after=0, until=lambda event: False):
    """Events until the stream ends, or until one that is waited for."""
    events = []
    request = pb.WatchFineTuneRequest(name=name, after_sequence=after)
    async for event in client.stream(client.factory.WatchFineTune, request, 300):
        events.append(event)
        if until(event):
            break
    return events


async def finish(client, name):
    """The fine-tune at its end."""
    await watch(client, name)
    return await get(client, name)


def in_training(event):
    return event.progress.step > 0


async def refused(call, reason, code):
    with pytest.raises(ApiError) as error:
        await call
    assert (error.value.reason, error.value.code) == (reason, code)
    return error.value
