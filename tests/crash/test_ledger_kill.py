"""`kill -9` of the ledger at 100 points of its life on a real chain: nothing lost, nothing doubled, no nonce left out.

A real process, a real anvil, while deposits, receipts, epochs, claims and anchors keep coming.  Every named point of
the way from a receipt to a final transaction is hit for certain; the rest are moments at random, from its first import
on.  In the end the ledger says what the chain says, and both say what was asked for.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from openledger import spending
from openledger.client import ApiError, Client, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.testing import as_service, endpoints
from services.ledger import keys
from services.ledger.signin import Issuer
from services.ledger.store.tables import ATTEMPT, TRANSACTION
from tests import chains
from tests.ledger_and_chain import Agreement
from tests.ledger_lives import POINTS, Lives
from tests.ledger_world import (
    DAY,
    EARNERS,
    FUNDED,
    OPEN,
    OPERATOR,
    TREASURY,
    Attribution,
    World,
    a_receipt,
    attribution_served,
)
from tests.needs import needs
from tests.ports import six_free_ports

KILLS = int(os.environ.get("OPENLEDGER_KILLS", "100"))
SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))
LIFE_SECONDS = 1.5
REACHED_SECONDS = 40
FEW = frozenset({"seal", "redeemed", "published", "advance", "anchored"})  # of an epoch, or an anchor: the first counts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), needs("anvil")]


class Load:
    """People who ask for things and ask again, under the same request id, until they have their answer."""

    def __init__(self, world: World, where: str) -> None:
        self.world, self.where = world, where
        self.payers = [Wallet(f"0x{number:064x}") for number in (0x201, 0x202)]
        self.fees = dict.fromkeys((p.address for p in self.payers), 0)
        self.deposited = dict.fromkeys((p.address for p in self.payers), 0)
        self.closed: list[str] = []
        self.anchored: list[str] = []
        self.stop = False

    def client(self, wallet: Wallet) -> Client:
        """With a session from the ledger's own key: nobody has to sign in at every life."""
        issuer = Issuer(keys.session_key(self.world.folder / "ledger" / "sessions.pem"))
        token = lambda: issuer.token(wallet.address, datetime.now(UTC), 3600)  # noqa: E731
        return Client(endpoints(ledger=self.where), token=token)

    async def asks(self, client: Client, method: str, request: Any) -> Any:
        """The answer, however many lives it takes.  None when people are told to stop."""
        while True:
            try:
                return await client.call(getattr(client.ledger, method), request, 5)
            except ApiError as error:
                if error.reason in ("NO_CLAIM", "NOTHING_TO_CLAIM", "EMPTY_EPOCH", "EPOCH_IN_PROGRESS"):
                    return error
                if error.code.name not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"):
                    raise
                await asyncio.sleep(0.05)

    async def pays(self, payer: Wallet) -> None:
        """Deposits, and an answer after each, until told to stop."""
        async with self.client(payer) as client, as_service("openlora", ledger=self.where) as openlora:
            await self.asks(client, "AuthoriseSpending", self.authorisation(payer))
            while not self.stop:
                request = await asyncio.to_thread(self.permit, payer, OPEN)
                while not (await self.asks(client, "RelayDeposit", request)).credited:
                    pass
                self.deposited[payer.address] += OPEN
                take = ledger_pb2.AcquireLeaseRequest(
                    account=payer.account, amount=str(OPEN // 2), request_id=request_id()
                )
                lease = await self.asks(openlora, "AcquireLease", take)
                for part in (7, 11, 13):
                    self.fees[payer.address] += OPEN // part
                    self.world.attribution.give(a_receipt(payer, lease.name, OPEN // part))

    async def closes(self) -> None:
        async with self.client(OPERATOR) as client:
            while not self.stop:
                operation = await self.asks(client, "CloseEpoch", ledger_pb2.CloseEpochRequest(request_id=request_id()))
                if not isinstance(operation, ApiError):
                    self.closed.append(operation.name)
                await asyncio.sleep(0.1)

    async def claims(self) -> None:
        async with self.client(OPERATOR) as client:
            while not self.stop:
                for earner in EARNERS:
                    request = ledger_pb2.RelayClaimRequest(account=earner.account, request_id=request_id())
                    await self.asks(client, "RelayClaim", request)
                await asyncio.sleep(0.1)

    async def anchors(self) -> None:
        async with as_service("datanet", ledger=self.where) as client:
            while not self.stop:
                name = f"datanets/d/snapshots/{len(self.anchored) + 1}"
                request = ledger_pb2.AnchorSnapshotRequest(
                    snapshot=name, root=b"r" * 32, record_count=1, request_id=request_id()
                )
                await self.asks(client, "AnchorSnapshot", request)
                self.anchored.append(name)
                await asyncio.sleep(0.5)

    def authorisation(self, payer: Wallet) -> ledger_pb2.AuthoriseSpendingRequest:
        cap, deadline = 10**6 * OPEN, int(time.time()) + 10 * DAY
        granted = spending.SpendingAuthorisation(payer.address, cap, deadline)
        escrow = self.world.chain().contracts.escrow
        signature = payer.sign(spending.authorisation_message(31337, escrow, granted))
        return ledger_pb2.AuthoriseSpendingRequest(
            account=payer.account, cap=str(cap), deadline=deadline, signature=signature, request_id=request_id()
        )

    def permit(self, payer: Wallet, amount: int) -> ledger_pb2.RelayDepositRequest:
        at, rpc = self.world.chain().contracts, self.world.rpc
        deadline, nonce = int(time.time()) + DAY, rpc.permit_nonce(at.token, payer.address)
        typed = spending.permit_message(
            31337, at.token, owner=payer.address, spender=at.escrow, value=amount, nonce=nonce, deadline=deadline
        )
        return ledger_pb2.RelayDepositRequest(
            account=payer.account,
            amount=str(amount),
            deadline=deadline,
            permit_signature=payer.sign(typed),
            request_id=request_id(),
        )

    def people(self) -> list[Callable[[], Awaitable[None]]]:
        paying = [lambda p=payer: self.pays(p) for payer in self.payers]
        return [*paying, self.closes, self.claims, self.anchors]


@pytest.fixture
async def world(database_url, tmp_path):
    servicer, port = Attribution(), six_free_ports()
    with chains.anvil(*FUNDED) as url:
        async with attribution_served(servicer) as address:
            found = World(tmp_path, url, servicer, address)
            found.more |= {"database_url": database_url, "listen": f"127.0.0.1:{port}", "relay_wait_seconds": 3}
            found.more |= {"operators": (OPERATOR.address,), "log_level": "error"}
            yield found


def environment(world: World) -> dict[str, str]:
    return {
        f"OPENLEDGER_LEDGER_{key.upper()}": value
        if isinstance(value, str)
        else json.dumps(value, default=str).strip('"')
        for key, value in world.given().items()
    }


def deaths(draw: random.Random) -> list[tuple[str | None, int]]:
    """Every named point once, and moments at random; in random order."""
    named = [(point, 1 if point.split(":")[0] in FEW else draw.randrange(1, 4)) for point in POINTS]
    found: list[tuple[str | None, int]] = [*named, *((None, 0) for _ in range(KILLS - len(named)))]
    draw.shuffle(found)
    return found[:KILLS]


async def test_killed_anywhere_it_loses_nothing_doubles_nothing_and_leaves_no_nonce_out(world):
    draw, served = random.Random(SEED), 0
    load = Load(world, world.more["listen"])
    given = environment(world)

    def serves() -> None:
        nonlocal served
        served += 1

    async with Lives() as lives:
        first = await lives.begin(given)
        await lives.ready()
        for payer in load.payers:
            world.rpc.transfer(TREASURY, world.chain().contracts.token, payer.address, 10**6 * OPEN)
        people = [asyncio.create_task(someone()) for someone in load.people()]
        await asyncio.sleep(LIFE_SECONDS)
        os.kill(first, signal.SIGKILL)
        await lives.over()
        for point, nth in deaths(draw):
            pid = await lives.begin(given, point, nth)
            ending = asyncio.create_task(lives.over(serves))
            seconds = REACHED_SECONDS if point else draw.uniform(0.05, LIFE_SECONDS)
            await asyncio.wait({ending, *people}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for someone in people:
                assert not someone.done(), someone.result()
            assert point is None or ending.done(), f"{point} was not reached"
            if not ending.done():
                os.kill(pid, signal.SIGKILL)
            assert os.WTERMSIG(await ending) == signal.SIGKILL
        await lives.begin(given)
        await lives.ready()
        load.stop = True
        await asyncio.gather(*people)
        await settled(world, load)
        await check(world, load)
    assert served > 0 or KILLS < 5
    print(f"\nOPENLEDGER_SEED={SEED}: {KILLS} kills, {served} of them while it served; {load.fees}, {load.deposited}")


async def settled(world: World, load: Load) -> None:
    """Everything that was asked for has come to its end."""
    database, deadline = Database(world.config().database), time.monotonic() + 60
    waiting = "SELECT count(*) FROM chain_transaction WHERE state NOT IN ('final', 'failed')"
    async with load.client(OPERATOR) as client:
        while True:
            closing = ledger_pb2.CloseEpochRequest(request_id=request_id())
            last = await load.asks(client, "CloseEpoch", closing)
            open_ = database.read_now(lambda c: c.exec_driver_sql(waiting).scalar_one())
            if isinstance(last, ApiError) and last.reason == "EMPTY_EPOCH" and not open_:
                break
            assert time.monotonic() < deadline, (last, open_)
            await asyncio.sleep(0.2)
    await asyncio.sleep(1)  # what is final has been followed
    database.close()


async def check(world: World, load: Load) -> None:
    database, chain = Database(world.config().database), world.chain()
    Agreement(database, chain, OPERATOR.address, load.fees).everything()
    for payer in load.payers:
        assert chain.balance(payer.address) + chain.spent(payer.address) == load.deposited[payer.address]
        assert chain.spent(payer.address) == load.fees[payer.address]
    assert all(chain.snapshot("datanets/d", number + 1) for number in range(len(load.anchored)))
    proposed = [
        log["fields"]["epoch"]
        for log in chain.logs("RewardsDistributor", chain.contracts.distributor, "RootProposed", 0, chain.head().number)
    ]
    assert proposed == list(range(1, len(proposed) + 1)), "an epoch has two roots, or none"
    assert set(load.closed) <= {f"operations/epoch-{number}.1" for number in proposed}
    rows = database.read_now(lambda c: c.execute(TRANSACTION.select()).all())
    attempts = database.read_now(lambda c: c.execute(ATTEMPT.select()).all())
    mine = sent_on_chain(world)
    creations = 5
    assert mine.keys() - {row.hash for row in attempts} == set(list(mine)[:creations]), "sent and not kept"
    assert [*mine.values()] == list(range(len(mine))), "a nonce is left out, or used twice"
    assert len(mine) == creations + len({row.nonce for row in attempts})
    done = [row.key for row in rows if row.state == "final"]
    assert len(done) == len(set(done))
    database.close()


def sent_on_chain(world: World) -> dict[str, int]:
    """The operator's transactions in blocks, in order: hash to nonce."""
    head = int(chains.rpc(world.rpc_url, "eth_blockNumber"), 16)
    found = {}
    for number in range(head + 1):
        for tx in chains.rpc(world.rpc_url, "eth_getBlockByNumber", hex(number), True)["transactions"]:
            if tx["from"] == OPERATOR.address:
                found[tx["hash"]] = int(tx["nonce"], 16)
    return found
