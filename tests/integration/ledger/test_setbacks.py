"""The ledger when the chain will not go along: a spent authorisation, a registry that refuses, a node that is away.

Each has a chain of its own, whose clock a test may move.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import contextmanager

import grpc
import pytest

from openledger import siwe
from openledger.client import ApiError, Client
from openledger.identity.v1 import identity_pb2
from openledger.ledger.v1 import ledger_pb2
from services.kit.server import Assembly
from services.kit.testing import as_service, as_wallet, endpoints, served
from services.ledger.__main__ import assemble
from services.ledger.chain import CallReverted, ChainUnavailable
from services.ledger.chain_rpc import RpcChain
from tests import chains
from tests.ledger_world import (
    DAY,
    FUNDED,
    OPEN,
    OPERATOR,
    a_receipt,
    authorisation,
    booked,
    conservation,
    lease,
    pay_in,
)


@pytest.fixture(scope="module")
def chain_url(tmp_path_factory):
    with chains.devchain(tmp_path_factory.mktemp("chain"), *FUNDED) as url:
        yield url


def total(assembly: Assembly, name: str) -> float:
    """A metric of the ledger, its labels added up."""
    samples = [sample for family in assembly.metrics.registry.collect() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == f"openledger_ledger_{name}")


async def test_an_epoch_goes_on_when_a_payer_signs_anew_what_could_not_be_redeemed(world, payer):
    assembly = await assemble(world.config())
    async with served(assembly) as where:
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, OPEN)
        answer = a_receipt(payer, held.name, OPEN // 2)
        world.attribution.give(answer)
        await booked(where, payer, [answer])
        world.rpc.call("evm_increaseTime", hex(2 * DAY))  # now the authorisation is over
        async with as_wallet(OPERATOR, ledger=where) as operator:
            closing = ledger_pb2.CloseEpochRequest(request_id=str(uuid.uuid4()))
            operation = await operator.call(operator.ledger.CloseEpoch, closing)
            async with asyncio.timeout(20):
                while not total(assembly, "underfunded_open"):
                    await asyncio.sleep(0.05)
            again = await authorisation(where, payer, OPEN, deadline=int(time.time()) + 30 * DAY)
            async with as_wallet(payer, ledger=where) as client:
                await client.call(client.ledger.AuthoriseSpending, again)
            epoch = await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
        sums = await conservation(where)
    assert epoch.state == ledger_pb2.EPOCH_STATE_ACTIVE
    assert (world.chain().spent(payer.address), world.chain().funded()) == (OPEN // 2, OPEN // 2)
    assert (sums.difference, sums.trial_balance) == ("0", "0")


async def test_a_root_that_the_registry_refused_can_be_anchored_later(world, where, monkeypatch):
    def request() -> ledger_pb2.AnchorSnapshotRequest:
        return ledger_pb2.AnchorSnapshotRequest(
            snapshot="datanets/d/snapshots/1", root=b"r" * 32, record_count=3, request_id=str(uuid.uuid4())
        )

    def refuses(*_: object) -> int:
        raise CallReverted("NotCommitter", (OPERATOR.address,), "reverted")

    async with as_service("datanet", ledger=where) as datanet:
        with monkeypatch.context() as patched:
            patched.setattr(RpcChain, "estimate", refuses)
            operation = await datanet.call(datanet.ledger.AnchorSnapshot, request())
            with pytest.raises(ApiError, match="ANCHORING_REFUSED"):
                await datanet.wait("ledger", operation, ledger_pb2.Anchoring, 20)
        operation = await datanet.call(datanet.ledger.AnchorSnapshot, request())
        anchored = await datanet.wait("ledger", operation, ledger_pb2.Anchoring, 20)
    assert anchored.transaction
    assert world.chain().snapshot("datanets/d", 1).root == b"r" * 32


@contextmanager
def away(monkeypatch):
    """The node does not answer."""

    def silent(*_: object) -> bytes:
        raise ChainUnavailable("the node does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(RpcChain, "call", silent)
        yield


async def test_a_signature_that_only_the_chain_can_judge_waits_for_it(where, payer, client, monkeypatch):
    """It may be a contract wallet's; nothing is used up meanwhile."""
    async with Client(endpoints(ledger=where)) as anyone:
        asked = await anyone.call(
            anyone.identity.CreateChallenge, identity_pb2.CreateChallengeRequest(address=payer.address)
        )
        signature = siwe.sign(OPERATOR.private_key, asked.message)
        request = identity_pb2.CreateSessionRequest(message=asked.message, signature=signature)
        with away(monkeypatch), pytest.raises(ApiError) as caught:
            await anyone.call(anyone.identity.CreateSession, request)
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "CHAIN_UNAVAILABLE")
        assert caught.value.retry_after
        with pytest.raises(ApiError, match="BAD_SIGNATURE"):
            await anyone.call(anyone.identity.CreateSession, request)
        request.signature = siwe.sign(payer.private_key, asked.message)
        assert (await anyone.call(anyone.identity.CreateSession, request)).account == payer.account
    allowed = await authorisation(where, payer, OPEN)
    allowed.signature = b"x" * 65
    await client.sign_in()
    with away(monkeypatch), pytest.raises(ApiError, match="CHAIN_UNAVAILABLE"):
        await client.call(client.ledger.AuthoriseSpending, allowed)
