"""The ledger's process may end anywhere: between any two commits, or with the chain told and the commit lost.

A life is one start of the service on the same files.  After its allowance of commits the database refuses everything,
as if the process were gone, and the next life begins.  The story goes on by repeating requests under their first ids.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from openledger.client import ApiError, Client, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.testing import as_service, as_wallet, endpoints
from services.ledger import keys
from services.ledger.signin import Issuer
from tests.ledger_world import (
    EARNERS,
    OPEN,
    OPERATOR,
    World,
    a_receipt,
    anchor,
    asked_again,
    authorisation,
    balance,
    conservation,
    info,
    permit,
    register,
    registration,
)
from tests.needs import ROOT

pytestmark = pytest.mark.long
FEE = OPEN // 7
MAX_LIVES = 300


class Killed(RuntimeError):
    """The process is gone."""


class Mortality:
    """How many more commits this life has, and whether its last one is lost."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self.left, self.loses_last, self.dead = 0, False, True
        self.immortal = False

    def begin(self) -> None:
        # What a start notes of the books and of what was read takes some of them.
        self.left, self.loses_last, self.dead = self._draw.randrange(1, 9), self._draw.random() < 0.5, False

    def write(self, commit: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(database: Database, transaction: Any) -> Any:
            if self.dead:
                raise Killed
            self.left -= not self.immortal
            if self.left <= 0 and not self.immortal:
                self.dead = True
                if self.loses_last:
                    raise Killed
            return commit(database, transaction)

        return mortal

    def read(self, query: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(database: Database, what: Any) -> Any:
            if self.dead:
                raise Killed
            return query(database, what)

        return mortal


@pytest.fixture(params=(1, 2))
def mortality(request, monkeypatch):
    found = Mortality(request.param)
    monkeypatch.setattr(Database, "write_now", found.write(Database.write_now))
    monkeypatch.setattr(Database, "read_now", found.read(Database.read_now))
    return found


class Story:
    """Steps that are repeated, life after life, until each has its answer."""

    def __init__(self, world: World, mortality: Mortality) -> None:
        self._world, self._mortality = world, mortality
        self.lives = 0

    async def step(self, act: Callable[[str], Awaitable[Any]]) -> Any:
        """`act` in a new life, and again, until it is done."""
        while True:
            self.lives += 1
            assert self.lives < MAX_LIVES
            try:
                return await self._life(act)
            except (ApiError, Killed):
                continue

    async def _life(self, act: Callable[[str], Awaitable[Any]]) -> Any:
        # A start's own commits (schema, sender) are the life's first: they are allowed, so that lives get anywhere.
        self._mortality.dead, self._mortality.immortal = False, True
        async with self._world.run() as where:
            self._mortality.immortal = False
            self._mortality.begin()
            doing = asyncio.create_task(asyncio.wait_for(act(where), 30))
            while not doing.done() and not self._mortality.dead:
                await asyncio.sleep(0.02)
            if not doing.done():
                await asyncio.wait({doing}, timeout=0.2)
            if doing.done():
                return doing.result()
            doing.cancel()
            raise Killed


async def call(client: Client, method: Any, request: Any) -> Any:
    async with client:
        return await client.call(method, request)


def signed_in(world: World, wallet: Wallet, where: str) -> Client:
    """With a session from the ledger's own key: a sign-in would use up a life's commits."""
    issuer = Issuer(keys.session_key(world.folder / "ledger" / "sessions.pem"))
    return Client(endpoints(ledger=where), token=lambda: issuer.token(wallet.address, datetime.now(UTC), 60))


@pytest.mark.slow
async def test_a_life_may_end_between_any_two_commits(world, payer, mortality):
    story = Story(world, mortality)
    mortality.dead, mortality.immortal = False, True
    async with world.run() as where:
        deposit = await permit(world, where, payer, OPEN)
        allowed = await authorisation(where, payer, OPEN)

    credited = False
    while not credited:
        paid = await story.step(lambda w: call(c := signed_in(world, payer, w), c.ledger.RelayDeposit, deposit))
        credited = paid.credited
    await story.step(lambda w: call(c := signed_in(world, payer, w), c.ledger.AuthoriseSpending, allowed))
    take = ledger_pb2.AcquireLeaseRequest(account=payer.account, amount=str(OPEN), request_id=deposit.request_id)
    held = await story.step(lambda w: call(c := as_service("openlora", ledger=w), c.ledger.AcquireLease, take))

    receipts = [a_receipt(payer, held.name, FEE) for _ in range(3)]
    world.attribution.give(*receipts)
    last = ledger_pb2.GetPayoutRequest(response=receipts[-1].response, wait_seconds=20)
    await story.step(lambda w: call(c := signed_in(world, payer, w), c.ledger.GetPayout, last))
    close = ledger_pb2.CloseEpochRequest(request_id=deposit.request_id)
    epoch = await story.step(lambda w: closed(signed_in(world, OPERATOR, w), close))
    claims = []
    for earner in EARNERS[:2]:
        ask = ledger_pb2.RelayClaimRequest(account=earner.account, request_id=request_id())
        done = None
        while done is None or not done.transaction:
            done = await story.step(
                lambda w, a=ask, e=earner: call(c := signed_in(world, e, w), c.ledger.RelayClaim, a)
            )
        claims.append(done)
    assert story.lives > 20
    mortality.immortal, mortality.dead = True, False
    await check(world, payer, epoch, claims)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_revision_is_registered_once_whenever_a_life_ends(world, mortality):
    """Between taking, planning, signing, sending and the answer: whoever asks again finds one registration."""
    story = Story(world, mortality)
    mortality.dead, mortality.immortal = False, True
    async with world.run() as where:
        asked = registration(await anchor(where, f"datanets/d-{request_id()[:8]}/snapshots/1"))
    nonce = world.chain().nonce(OPERATOR.address)
    # As the factory asks after its own death: under another request id.
    made = await story.step(lambda w: registered(as_service("factory", ledger=w), asked_again(asked)))
    assert story.lives > 2
    mortality.immortal, mortality.dead = True, False
    chain = world.chain()
    assert chain.nonce(OPERATOR.address) == nonce + 1
    [log] = chain.logs("ModelRegistry", made.contract, "RevisionRegistered", 0, chain.head().number)
    assert log["fields"]["uri"] == asked.revision
    assert "0x" + bytes(log["transactionHash"]).hex() == made.transaction
    async with world.run() as where:
        assert await registered(as_service("factory", ledger=where), asked) == made


async def registered(factory: Client, request: ledger_pb2.RegisterRevisionRequest) -> ledger_pb2.ModelRegistration:
    async with factory as client:
        return await register(client, request)


async def closed(operator: Client, request: ledger_pb2.CloseEpochRequest) -> ledger_pb2.Epoch:
    async with operator as client:
        operation = await client.call(client.ledger.CloseEpoch, request)
        return await client.wait("ledger", operation, ledger_pb2.Epoch, 30)


async def check(world: World, payer: Wallet, epoch: ledger_pb2.Epoch, claims: Sequence[ledger_pb2.Claim] = ()) -> None:
    """Every unit is where it belongs, here and on the chain."""
    chain, fees = world.chain(), 3 * FEE
    async with world.run() as where:
        async with as_wallet(payer, ledger=where) as client:
            at = await info(client)
        sums, has = await conservation(where), await balance(where, payer)
        claimed = [(await balance(where, earner)).claimed for earner in EARNERS[:2]]
    assert (sums.fees, sums.difference, sums.trial_balance) == (str(fees), "0", "0")
    assert int(sums.paid) + int(sums.held) == fees
    assert (has.deposited, has.spent, has.authorised) == (str(OPEN - fees), str(fees), str(OPEN))
    assert (chain.balance(payer.address), chain.spent(payer.address), chain.funded()) == (OPEN - fees, fees, fees)
    assert world.token_balance(at, payer.address) == 0
    assert (chain.last_epoch(), epoch.total, epoch.receipt_count) == (1, sums.paid, 3)
    assert "0x" + chain.epoch(1).root.hex() == epoch.root
    assert [str(chain.claimed(earner.address)) for earner in EARNERS[:2]] == claimed
    assert claimed == ([c.cumulative for c in claims] or ["0", "0"])
    assert chain.total_claimed() == sum(map(int, claimed))


@pytest.mark.slow
async def test_the_program_runs_from_its_environment_and_survives_kill_9(world, payer):
    async with world.run() as where:
        deposit = await permit(world, where, payer, OPEN)
        allowed = await authorisation(where, payer, OPEN)
    request = ledger_pb2.CloseEpochRequest(request_id=deposit.request_id)
    draw = random.Random(3)

    async with Process(world) as where:
        await call(c := as_wallet(payer, ledger=where), c.ledger.RelayDeposit, deposit)
        await call(c := as_wallet(payer, ledger=where), c.ledger.AuthoriseSpending, allowed)
        take = ledger_pb2.AcquireLeaseRequest(account=payer.account, amount=str(OPEN), request_id=deposit.request_id)
        held = await call(c := as_service("openlora", ledger=where), c.ledger.AcquireLease, take)
        receipts = [a_receipt(payer, held.name, FEE) for _ in range(3)]
        world.attribution.give(*receipts)
        last = ledger_pb2.GetPayoutRequest(response=receipts[-1].response, wait_seconds=20)
        await call(c := as_wallet(payer, ledger=where), c.ledger.GetPayout, last)
    for _ in range(3):
        async with Process(world) as where:
            await call(c := as_wallet(OPERATOR, ledger=where), c.ledger.CloseEpoch, request)
            await asyncio.sleep(draw.uniform(0, 0.3))
    async with Process(world) as where:
        epoch = await closed(as_wallet(OPERATOR, ledger=where), request)
    await check(world, payer, epoch)


class Process:
    """The ledger as its own process, configured by environment alone; killed with SIGKILL on leaving."""

    def __init__(self, world: World) -> None:
        self._environment = {
            f"OPENLEDGER_LEDGER_{key.upper()}": value
            if isinstance(value, str)
            else json.dumps(value, default=str).strip('"')
            for key, value in world.given().items()
        }

    async def __aenter__(self) -> str:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.ledger",
            cwd=ROOT,
            env=os.environ | self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        ready = json.loads(await asyncio.wait_for(self._process.stdout.readline(), 60))
        assert ready["serving"]
        return f"127.0.0.1:{ready['port']}"

    async def __aexit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
