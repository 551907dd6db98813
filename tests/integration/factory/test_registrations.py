"""Published revisions get on chain by themselves, whatever the ledger does meanwhile and whoever dies."""

from __future__ import annotations

import asyncio

from openledger import manifest
from openledger.artifacts import ArtifactStore
from openledger.factory.v1 import factory_pb2 as pb
from services.factory import store_revisions
from tests.integration.factory.conftest import OWNER, create, factory, finish, publish


async def published(client, base):
    done = await finish(client, (await create(client, base)).name)
    return await publish(client, done.name)


async def resolve(client, name):
    return await client.call(client.factory.GetAdapterRevision, pb.GetAdapterRevisionRequest(name=name))


async def on_chain(client, name):
    async with asyncio.timeout(60):
        while not (found := await resolve(client, name)).HasField("registration"):
            await asyncio.sleep(0.05)
    return found


async def test_a_published_revision_shows_where_it_stands_on_chain(client, base, around, tmp_path):
    revision = await published(client, base)
    at = (await on_chain(client, revision.name)).registration
    [(name, asked)] = around.ledger.registered.items()
    there = around.ledger.registration(name)
    expected = (31337, there.contract, there.transaction, 1)
    assert (at.chain_id, at.contract, at.transaction, at.block) == expected
    lineage = manifest.parse(ArtifactStore(tmp_path / "artifacts").get(revision.name[-64:]))
    assert (asked.revision, asked.index_root) == (revision.name, revision.index_root)
    assert (asked.base_sha256, asked.developer) == (revision.base_sha256, OWNER.account)
    assert [(s.snapshot, s.root) for s in asked.snapshots] == [(s.name, s.root) for s in lineage.snapshots]
    request = pb.ListAdapterRevisionsRequest(parent="adapters/letters")
    [listed] = (await client.call(client.factory.ListAdapterRevisions, request)).adapter_revisions
    assert listed.registration == at


async def test_a_ledger_that_is_away_delays_and_fails_nothing(client, base, around):
    around.ledger.away = True
    revision = await published(client, base)
    assert not revision.HasField("registration")
    await asyncio.sleep(0.5)
    assert not (await resolve(client, revision.name)).HasField("registration")
    around.ledger.away = False
    await on_chain(client, revision.name)
    assert len(around.ledger.registered) == 1


async def test_what_the_registry_refused_is_asked_again(client, base, around):
    around.ledger.refuses = 2
    revision = await published(client, base)
    await on_chain(client, revision.name)
    assert len({request.request_id for request in around.ledger.asked}) == 3


async def test_a_chain_that_is_slow_is_waited_for(around, tmp_path, base, outputs):
    around.ledger.slow = True
    async with factory(around, tmp_path, base, executor_dir=outputs, register_wait_seconds=0.3) as client:
        revision = await published(client, base)
        async with asyncio.timeout(60):
            while len(around.ledger.asked) < 2:
                await asyncio.sleep(0.05)
        around.ledger.slow = False
        await on_chain(client, revision.name)
    assert len({request.request_id for request in around.ledger.asked}) == 1


async def test_a_factory_that_dies_before_it_knows_registers_nothing_twice(
    around, tmp_path, base, outputs, monkeypatch
):
    """The ledger has the revision, and whoever asked for it is gone before the answer is stored."""

    def dies(*_):
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(store_revisions, "register", dies)
        async with factory(around, tmp_path, base, executor_dir=outputs) as client:
            revision = await published(client, base)
            async with asyncio.timeout(60):
                while not around.ledger.registered:
                    await asyncio.sleep(0.05)
            assert not (await resolve(client, revision.name)).HasField("registration")
    async with factory(around, tmp_path, base, executor_dir=outputs) as client:
        at = (await on_chain(client, revision.name)).registration
    [name] = around.ledger.registered
    assert at.transaction == around.ledger.registration(name).transaction
