"""Adapter revisions over real gRPC: registered once, by the factory alone, and shown as the chain has them."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import grpc
import pytest

from openledger import manifest
from openledger.abi import encode_call
from openledger.client import ApiError, Client, Wallet
from openledger.ledger.v1 import ledger_pb2
from services.factory.ledger_registrar import LedgerRegistrar
from services.factory.model import Metrics, Revision
from services.kit.testing import as_service, as_wallet, endpoints
from services.ledger.chain import Call, CallReverted, ChainUnavailable
from services.ledger.chain_rpc import RpcChain
from tests.ledger_world import (
    DEVELOPER,
    EARNERS,
    OPERATOR,
    anchor,
    asked_again,
    info,
    refused,
    register,
    registration,
)

NOT_THERE = "adapters/letters/revisions/" + "0a" * 32


@pytest.fixture
async def factory(where):
    async with as_service("factory", ledger=where) as found:
        yield found


@pytest.fixture
async def snapshot(where):
    return await anchor(where, f"datanets/d-{uuid.uuid4().hex[:8]}/snapshots/3")


@asynccontextmanager
async def anybody(where):
    async with Client(endpoints(ledger=where)) as client:
        yield client


async def shown(client, revision) -> ledger_pb2.ModelRegistration:
    request = ledger_pb2.GetModelRegistrationRequest(revision=revision)
    return await client.call(client.ledger.GetModelRegistration, request)


async def test_a_revision_is_registered_once_and_everybody_sees_it(world, where, factory, snapshot):
    request = registration(snapshot)
    first = await register(factory, request)
    assert await register(factory, request) == first
    assert await register(factory, asked_again(request)) == first
    assert (first.revision, first.index_root, first.base_sha256) == (request.revision, "1" * 64, "2" * 64)
    assert (list(first.snapshots), first.developer) == ([snapshot], DEVELOPER.account)
    split = first.split
    assert (split.developer_bps, split.stakers_bps, split.contributors_bps) == (2000, 1000, 7000)
    assert not first.HasField("announced_split")
    chain = world.chain()
    mined = chain.receipt(first.transaction)
    assert (mined.succeeded, mined.block_number) == (True, first.block)
    block = chain.block(first.block)
    assert first.register_time.ToSeconds() == block.timestamp
    async with anybody(where) as client:
        assert await shown(client, request.revision) == first
        assert (await info(client)).contracts["ModelRegistry"] == first.contract


async def test_the_factorys_registrar_is_understood(world, where, snapshot):
    lineage = manifest.sign(
        manifest.LineageManifest(
            adapter="letters",
            base=manifest.Base("tiny", "2" * 64),
            files=dict.fromkeys(manifest.FILES, "f" * 64),
            index_root="1" * 64,
            snapshots=(manifest.Snapshot(snapshot.snapshot, snapshot.root),),
            spec={},
            contributors={EARNERS[0].address: 3},
            owner=DEVELOPER.address,
            metrics={},
            code="a test",
            licence="MIT",
            use="commercial",
        ),
        OPERATOR.private_key,
    )
    metrics = Metrics(1, 0, {}, 1, 0.0, 0.0, 10, 1.0)
    revision = Revision(lineage.revision, "letters", "one", lineage.to_bytes(), metrics, datetime.now(UTC))
    made = []
    for _ in range(2):  # the second one knows nothing of the first
        async with as_service("factory", ledger=where) as client:
            made.append(await LedgerRegistrar(client, 20).register(revision))
        assert made[0] == made[-1]
    found = world.chain().revision(bytes.fromhex(lineage.digest))
    assert (found.developer, found.index_root.hex()) == (DEVELOPER.address, lineage.index_root)
    async with anybody(where) as client:
        told = await shown(client, revision.name)
    assert vars(made[0]) == {name: getattr(told, name) for name in ("chain_id", "contract", "transaction", "block")}


@pytest.mark.parametrize(
    "changes",
    (
        {"index_root": "3" * 64},
        {"base_sha256": "3" * 64},
        {"developer": OPERATOR.account},
        {"snapshots": [ledger_pb2.RevisionSnapshot(snapshot="datanets/e/snapshots/1", root="4" * 64)]},
    ),
)
async def test_other_data_for_the_same_revision_are_an_error(factory, snapshot, changes):
    request = registration(snapshot)
    first = await register(factory, request)
    other = asked_again(request, **changes)
    assert (await refused(factory, factory.ledger.RegisterRevision, other)).reason == "ALREADY_REGISTERED"
    other = asked_again(request)
    other.revision = request.revision.replace("letters", "numbers")
    assert (await refused(factory, factory.ledger.RegisterRevision, other)).reason == "ALREADY_REGISTERED"
    assert await shown(factory, request.revision) == first
    assert (await nothing_shown(factory, other.revision)).reason == "REGISTRATION_NOT_FOUND"


async def nothing_shown(client, revision) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await shown(client, revision)
    return caught.value


async def test_only_the_factory_registers(where, snapshot):
    request = registration(snapshot)
    for caller in ("datanet", "openlora", "attribution", "ledger"):
        async with as_service(caller, ledger=where) as client:
            assert (await refused(client, client.ledger.RegisterRevision, request)).reason == "NOT_FOR_THIS_CALLER"
    async with as_wallet(OPERATOR, ledger=where) as operator:
        assert (await refused(operator, operator.ledger.RegisterRevision, request)).reason == "NOT_FOR_THIS_CALLER"
    async with anybody(where) as client:
        assert (await refused(client, client.ledger.RegisterRevision, request)).reason == "SIGN_IN"
        assert (await nothing_shown(client, request.revision)).code is grpc.StatusCode.NOT_FOUND


ZERO = "0" * 64


@pytest.mark.parametrize(
    ("changes", "reason"),
    (
        ({"revision": "adapters/letters/revisions/7"}, "BAD_REVISION"),
        ({"revision": "adapters/letters/revisions/" + "A" * 64}, "BAD_REVISION"),
        ({"revision": "adapters/letters/revisions/" + ZERO}, "BAD_REVISION"),
        ({"index_root": ZERO}, "BAD_ROOT"),
        ({"index_root": "1"}, "INVALID_FIELD"),
        ({"base_sha256": ZERO}, "BAD_ROOT"),
        ({"base_sha256": ""}, "INVALID_FIELD"),
        ({"developer": "accounts/0x" + "0" * 40}, "BAD_DEVELOPER"),
        ({"developer": "accounts/me"}, "BAD_DEVELOPER"),
        ({"snapshots": []}, "INVALID_FIELD"),
        (
            {"snapshots": [ledger_pb2.RevisionSnapshot(snapshot="datanets/d/snapshots/0", root="1" * 64)]},
            "BAD_SNAPSHOT",
        ),
        ({"snapshots": [ledger_pb2.RevisionSnapshot(snapshot="datanets/d/snapshots/1", root=ZERO)]}, "BAD_ROOT"),
        ({"snapshots": [ledger_pb2.RevisionSnapshot(snapshot="datanets/d/snapshots/1")]}, "INVALID_FIELD"),
        ({"request_id": "x"}, "INVALID_FIELD"),
    ),
)
async def test_what_no_registry_would_take_is_refused_at_once(factory, snapshot, changes, reason):
    request = registration(**({"snapshots": [snapshot]} | changes))
    found = await refused(factory, factory.ledger.RegisterRevision, request)
    assert (found.reason, found.code) == (reason, grpc.StatusCode.INVALID_ARGUMENT)


async def test_a_snapshot_that_is_not_anchored_yet_can_be_registered_with_later(world, where, factory):
    snapshot = f"datanets/d-{uuid.uuid4().hex[:8]}/snapshots/1"
    request = registration(ledger_pb2.RevisionSnapshot(snapshot=snapshot, root=(b"s" * 32).hex()))
    with pytest.raises(ApiError, match=r"REGISTRATION_REFUSED.*SnapshotNotCommitted"):
        await register(factory, request)
    assert (await nothing_shown(factory, request.revision)).reason == "REGISTRATION_NOT_FOUND"
    await anchor(where, snapshot, b"s" * 32)
    with pytest.raises(ApiError, match="REGISTRATION_REFUSED"):
        await register(factory, request)  # this request has its answer
    assert (await register(factory, asked_again(request))).transaction


async def test_a_registry_that_refused_can_be_asked_again_with_other_data(world, factory, snapshot, monkeypatch):
    def refuses(*_: object) -> int:
        raise CallReverted("NotCommitter", (OPERATOR.address,), "reverted")

    request = registration(snapshot)
    with monkeypatch.context() as patched:
        patched.setattr(RpcChain, "estimate", refuses)
        with pytest.raises(ApiError, match="REGISTRATION_REFUSED"):
            await register(factory, request)
    other = asked_again(request, index_root="5" * 64)
    assert (await register(factory, other)).index_root == "5" * 64
    assert world.chain().revision(bytes.fromhex(other.revision[-64:])).index_root.hex() == "5" * 64


async def test_the_developers_change_shows_while_it_waits_and_when_it_is_made(world, factory, snapshot):
    request = registration(snapshot)
    first = await register(factory, request)
    digest = bytes.fromhex(request.revision[-64:])

    def send(function: str, *arguments: object) -> None:
        data = encode_call("ModelRegistry", function, digest, *arguments)
        world.send(DEVELOPER, Call(first.contract, data))

    send("proposeSplit", (1500, 500))
    waits = await shown(factory, request.revision)
    assert (waits.split, waits.announced_split.contributors_bps) == (first.split, 8000)
    assert waits.announced_split_time.ToSeconds() > first.register_time.ToSeconds()
    await asyncio.sleep(waits.announced_split_time.ToSeconds() - world.chain().timestamp() + 0.1)
    send("activateSplit")
    made = await shown(factory, request.revision)
    assert (made.split.developer_bps, made.split.stakers_bps, made.split.contributors_bps) == (1500, 500, 8000)
    assert not made.HasField("announced_split")
    assert (await register(factory, asked_again(request))).split == first.split, "the operation's answer stays"


async def test_a_chain_that_is_away_delays(where, factory, snapshot, monkeypatch):
    def silent(*_: object, **__: object) -> bytes:
        raise ChainUnavailable("the node does not answer")

    request = registration(snapshot)
    with monkeypatch.context() as patched:
        for method in ("call", "estimate", "broadcast", "receipt"):
            patched.setattr(RpcChain, method, silent)
        operation = await factory.call(factory.ledger.RegisterRevision, request)
        with pytest.raises(TimeoutError):
            await factory.wait("ledger", operation, ledger_pb2.ModelRegistration, 1)
    assert (await register(factory, request)).transaction
    with monkeypatch.context() as patched:
        patched.setattr(RpcChain, "call", silent)
        away = await nothing_shown(factory, request.revision)
    assert (away.reason, away.code) == ("CHAIN_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)


async def test_a_ledger_of_before_there_was_a_registry_gets_one(world):
    """Its files name no ModelRegistry and no delay; its snapshots stay, and can be registered with."""
    async with world.run() as where:
        snapshot = await anchor(where, "datanets/old/snapshots/1")
        before = await contracts(where)
    file = world.config().deployment
    content = json.loads(file.read_text())
    del content["transactions"]["models"], content["terms"]["split_delay"]
    file.write_text(json.dumps(content))
    async with world.run() as where:
        after = await contracts(where)
        async with as_service("factory", ledger=where) as factory:
            assert (await register(factory, registration(snapshot))).contract == after["ModelRegistry"]
    assert after.pop("ModelRegistry") != before.pop("ModelRegistry")
    assert after == before
    async with world.run() as where:
        assert (await contracts(where)).items() > after.items()


async def contracts(where) -> dict[str, str]:
    async with as_wallet(Wallet.create(), ledger=where) as client:
        return dict((await info(client)).contracts)
