"""Sign-in over real gRPC."""

from __future__ import annotations

import asyncio
import sqlite3

import grpc
import pytest

from openledger import siwe
from openledger.client import ApiError, Client, Wallet
from openledger.identity.v1 import identity_pb2
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import as_wallet, endpoints
from services.ledger.chain_node import Node
from tests.chains import YES_MAN
from tests.ledger_world import OPEN, TREASURY, authorisation


@pytest.fixture
async def anyone(where):
    async with Client(endpoints(ledger=where)) as client:
        yield client


async def challenge(client: Client, address: str) -> identity_pb2.Challenge:
    request = identity_pb2.CreateChallengeRequest(address=address)
    return await client.call(client.identity.CreateChallenge, request)


async def session(client: Client, message: str, signature: bytes) -> identity_pb2.Session:
    request = identity_pb2.CreateSessionRequest(message=message, signature=signature)
    return await client.call(client.identity.CreateSession, request)


async def refused(client: Client, message: str, signature: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        await session(client, message, signature)
    assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED
    return caught.value.reason


async def test_a_wallet_signs_in_and_is_itself(where, payer):
    async with as_wallet(payer, ledger=where) as client:
        mine = await client.call(client.ledger.GetBalance, ledger_pb2.GetBalanceRequest(account=payer.account))
    assert mine.account == payer.account


async def test_a_signed_message_works_once(anyone, payer):
    message = (await challenge(anyone, payer.address)).message
    signature = siwe.sign(payer.private_key, message)
    assert (await session(anyone, message, signature)).account == payer.account
    assert await refused(anyone, message, signature) == "NONCE_USED"


async def test_of_many_at_once_one_gets_in(anyone, payer):
    message = (await challenge(anyone, payer.address)).message
    signature = siwe.sign(payer.private_key, message)
    tries = await asyncio.gather(*(session(anyone, message, signature) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(t, identity_pb2.Session) for t in tries) == 1


async def test_a_signature_of_another_wallet_does_not_use_the_message_up(anyone, payer):
    message = (await challenge(anyone, payer.address)).message
    assert await refused(anyone, message, siwe.sign(Wallet.create().private_key, message)) == "BAD_SIGNATURE"
    await session(anyone, message, siwe.sign(payer.private_key, message))


async def test_a_changed_message_is_refused(anyone, payer):
    message = (await challenge(anyone, payer.address)).message
    other = Wallet.create()
    year = message[message.index("Expiration Time: ") + 17 :][:4]
    changes = {
        message.replace("openledger.local wants", "evil.test wants"): "BAD_SIGN_IN",
        message.replace("Chain ID: 31337", "Chain ID: 1"): "BAD_SIGN_IN",
        message.replace(f"Expiration Time: {year}", f"Expiration Time: {int(year) + 1}"): "BAD_SIGN_IN",
        message.replace("costs nothing", "costs a lot"): "BAD_SIGN_IN",
        message + "\nResources:": "BAD_SIGN_IN",
    }
    assert message not in changes
    for changed, reason in changes.items():
        assert await refused(anyone, changed, siwe.sign(payer.private_key, changed)) == reason
    stolen = siwe.SignIn(**vars(siwe.parse(message)) | {"address": other.address}).text()
    assert await refused(anyone, stolen, siwe.sign(other.private_key, stolen)) == "BAD_SIGN_IN"


async def test_a_message_of_ones_own_making_is_refused(anyone, payer):
    given = siwe.parse((await challenge(anyone, payer.address)).message)
    own = siwe.SignIn(**vars(given) | {"nonce": "f" * 32}).text()
    assert await refused(anyone, own, siwe.sign(payer.private_key, own)) == "BAD_SIGN_IN"


async def test_asking_without_end_shuts_nobody_out_and_stores_nothing(world, where, anyone, payer):
    first = (await challenge(anyone, payer.address)).message
    for _ in range(20):
        await asyncio.gather(*(challenge(anyone, Wallet.create().address) for _ in range(20)))
    with sqlite3.connect(next(world.folder.rglob("ledger.db"))) as database:
        assert database.execute("SELECT count(*) FROM challenge").fetchone() == (0,)
    assert (await session(anyone, first, siwe.sign(payer.private_key, first))).account == payer.account


async def test_a_time_that_utc_does_not_know_is_refused(anyone, payer):
    given = (await challenge(anyone, payer.address)).message
    issued = given[given.index("Issued At: ") + 11 :].split("\n")[0]
    own = given.replace(issued, "0001-01-01T00:00:00+23:59")
    assert await refused(anyone, own, siwe.sign(payer.private_key, own)) == "BAD_SIGN_IN"


async def test_a_message_that_ended_is_refused(world, payer):
    world.more["challenge_seconds"] = 1
    async with world.run() as where, Client(endpoints(ledger=where)) as anyone:
        message = (await challenge(anyone, payer.address)).message
        await asyncio.sleep(1.5)
        assert await refused(anyone, message, siwe.sign(payer.private_key, message)) == "CHALLENGE_EXPIRED"


async def test_an_address_that_is_none_is_refused(anyone):
    with pytest.raises(ApiError, match="INVALID_FIELD"):
        await challenge(anyone, "me")


async def test_sessions_outlive_a_restart_of_the_ledger(world, payer):
    async with world.run() as where, Client(endpoints(ledger=where)) as anyone:
        message = (await challenge(anyone, payer.address)).message
        token = (await session(anyone, message, siwe.sign(payer.private_key, message))).token
    async with world.run() as where, Client(endpoints(ledger=where), token=lambda: token) as client:
        await client.call(client.ledger.GetBalance, ledger_pb2.GetBalanceRequest(account=payer.account))


async def test_a_contract_wallet_signs_in_and_authorises_by_its_own_judgement(world, where, anyone):
    address = world.contract(YES_MAN)
    assert Node.connect(world.rpc_url, 31337).code(address) == YES_MAN
    message = (await challenge(anyone, address)).message
    token = (await session(anyone, message, b"whatever the contract takes")).token
    request = await authorisation(where, TREASURY, OPEN)
    request.account, request.signature = f"accounts/{address}", b"anything"
    async with Client(endpoints(ledger=where), token=lambda: token) as client:
        answer = await client.call(client.ledger.AuthoriseSpending, request)
    assert answer.authorised == str(OPEN)
