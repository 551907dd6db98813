"""A Factory whose workers run on a Ray cluster."""

from __future__ import annotations

import pytest

from openledger.factory.v1 import factory_pb2 as pb
from tests.integration.factory.conftest import create, factory, finish, publish, watch
from tests.needs import needs
from tests.ray_cluster import two_nodes


@pytest.fixture
def nodes():
    with two_nodes() as nodes:
        yield nodes


@needs("ray")
@pytest.mark.long
async def test_what_is_tuned_on_a_cluster_is_what_is_tuned_here(nodes, client, around, base, tmp_path):
    where = {"executor": f"ray:{nodes.address}", "worker_memory_mib": 4096}
    async with factory(around, tmp_path / "cluster", base, **where) as there:
        made = await create(there, base)
        done = await finish(there, made.name)
        assert done.state == pb.FINE_TUNE_STATE_SUCCEEDED
        assert [event for event in await watch(there, made.name) if event.HasField("progress")]
        assert (await publish(there, made.name)).name == done.revision
    here = await finish(client, (await create(client, base)).name)
    assert done.revision == here.revision
