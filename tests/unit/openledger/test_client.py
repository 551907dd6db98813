"""The client's sessions: how long one is used, and what it does where the ledger sees that otherwise."""

from __future__ import annotations

import time

import grpc
import pytest
from grpc_status import rpc_status

from openledger.client import ApiError, Client, Wallet
from openledger.datanet.v1 import datanet_pb2, datanet_pb2_grpc
from openledger.identity.v1 import identity_pb2, identity_pb2_grpc
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from openledger.openlora.v1 import openlora_pb2, openlora_pb2_grpc
from services.kit.errors import unauthenticated
from services.kit.testing import endpoints

WALLET = Wallet("0x" + "11" * 32)


class Ledger(
    ledger_pb2_grpc.LedgerServiceServicer,
    identity_pb2_grpc.IdentityServiceServicer,
    openlora_pb2_grpc.OpenLoRAServiceServicer,
    datanet_pb2_grpc.DatanetServiceServicer,
):
    """Gives sessions of `seconds`, takes those that are in `good`, and says `over` of others.

    Refuses the next sign-ins for `reasons`.
    """

    def __init__(self) -> None:
        self.seconds, self.challenges, self.sessions = 3600, 0, 0
        self.good: set[str] = set()
        self.reasons: list[str] = []
        self.over = "TOKEN_EXPIRED"

    async def CreateChallenge(self, request, context):
        self.challenges += 1
        return identity_pb2.Challenge(message=f"message {self.challenges}")

    async def CreateSession(self, request, context):
        assert request.message == f"message {self.challenges}"
        if self.reasons:
            await self._refuse(context, self.reasons.pop(0))
        self.sessions += 1
        token = f"token {self.sessions}"
        self.good.add(token)
        session = identity_pb2.Session(token=token)
        session.expire_time.FromSeconds(int(time.time()) + self.seconds)
        return session

    async def GetBalance(self, request, context):
        await self._check(context)
        return ledger_pb2.Balance(account=request.account)

    async def Chat(self, request, context):
        await self._check(context)
        for word in ("one", "two"):
            yield openlora_pb2.AnswerChunk(text=word)

    async def ContributeRecords(self, requests, context):
        given = [request async for request in requests]
        await self._check(context)
        return datanet_pb2.ContributeRecordsResponse(accepted=len(given))

    async def _check(self, context):
        if dict(context.invocation_metadata())["authorization"].removeprefix("Bearer ") not in self.good:
            await self._refuse(context, self.over)

    async def _refuse(self, context, reason):
        await context.abort_with_status(rpc_status.to_status(unauthenticated(reason, "no").to_status("ledger")))


class Nobody(set[str]):
    """Whoever is added is not in it."""

    def add(self, _: str) -> None:
        pass


@pytest.fixture
async def ledger():
    server, servicer = grpc.aio.server(), Ledger()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(servicer, server)
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(servicer, server)
    openlora_pb2_grpc.add_OpenLoRAServiceServicer_to_server(servicer, server)
    datanet_pb2_grpc.add_DatanetServiceServicer_to_server(servicer, server)
    servicer.where = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield servicer
    await server.stop(0)


@pytest.fixture
async def client(ledger):
    where = endpoints(ledger=ledger.where, openlora=ledger.where, datanet=ledger.where)
    async with Client(where, WALLET) as client:
        yield client


@pytest.fixture(params=("UTC0", "WEST8", "EAST-9"))
def zone(request, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


async def balance(client: Client) -> ledger_pb2.Balance:
    return await client.call(client.ledger.GetBalance, ledger_pb2.GetBalanceRequest(account=WALLET.account))


async def test_a_session_is_used_until_shortly_before_its_end_in_every_time_zone(zone, ledger, client):
    for _ in range(3):
        await balance(client)
    assert ledger.sessions == 1
    ledger.seconds = 30
    await client.sign_in()
    for _ in range(3):
        await balance(client)
    assert ledger.sessions == 5


@pytest.mark.parametrize("over", ("TOKEN_EXPIRED", "BAD_TOKEN"))
async def test_a_session_that_ended_by_the_services_clock_or_with_its_issuers_key_is_followed_by_another(
    ledger, client, over
):
    ledger.over = over
    await balance(client)
    ledger.good.clear()
    assert (await balance(client)).account == WALLET.account
    ledger.good.clear()
    words = [chunk.text async for chunk in client.stream(client.openlora.Chat, openlora_pb2.ChatRequest())]
    assert words == ["one", "two"]
    assert ledger.sessions == 3


async def test_a_request_that_is_a_stream_is_its_senders_to_repeat(ledger, client):
    async def two():
        for _ in range(2):
            yield datanet_pb2.ContributeRecordsRequest()

    await balance(client)
    ledger.good.clear()
    with pytest.raises(ApiError, match="TOKEN_EXPIRED"):
        await client.call(client.datanet.ContributeRecords, two())
    assert (await client.call(client.datanet.ContributeRecords, two())).accepted == 2


async def test_who_is_never_let_in_is_told_so_after_two_tries(ledger, client):
    await balance(client)
    ledger.good = Nobody()
    with pytest.raises(ApiError, match="TOKEN_EXPIRED"):
        await balance(client)
    with pytest.raises(ApiError, match="TOKEN_EXPIRED"):
        [chunk async for chunk in client.stream(client.openlora.Chat, openlora_pb2.ChatRequest())]
    assert ledger.sessions == 3


async def test_a_token_of_ones_own_is_not_renewed(ledger):
    async with Client(endpoints(ledger=ledger.where), token=lambda: "mine") as client:
        with pytest.raises(ApiError, match="TOKEN_EXPIRED"):
            await balance(client)
    assert ledger.challenges == 0


async def test_a_message_that_was_used_before_the_answer_came_is_followed_by_another(ledger, client):
    ledger.reasons = ["NONCE_USED"]
    await client.sign_in()
    assert (ledger.challenges, ledger.sessions) == (2, 1)
    ledger.reasons = ["NONCE_USED", "NONCE_USED"]
    with pytest.raises(ApiError, match="NONCE_USED"):
        await client.sign_in()
    ledger.reasons = ["BAD_SIGNATURE"]
    with pytest.raises(ApiError, match="BAD_SIGNATURE"):
        await client.sign_in()
    assert ledger.challenges == 5
