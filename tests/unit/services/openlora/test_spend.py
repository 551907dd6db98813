"""Leases: asked for in chunks, given back with what the traces on disk say, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.errors import Fault, unavailable
from services.openlora import store
from services.openlora.leases import Grant, LeaseOver, LeaseRefused
from services.openlora.spend import Spending

PAYER = "accounts/0x" + "a" * 40
MIGRATIONS = Path(store.__file__).parent / "migrations"


class Ledger:
    """A ledger in memory: balances, leases by request id, and what was given back."""

    def __init__(self, balance: int) -> None:
        self.balance, self.seconds = balance, 3600.0
        self.by_request: dict[str, Grant] = {}
        self.asked: list[int] = []
        self.released: dict[str, tuple[int, str]] = {}
        self.away = self.deaf = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.now = 0.0

    async def acquire(self, account: str, amount: int, request_id: str) -> Grant:
        await self.gate.wait()
        self.asked.append(amount)
        if self.away:
            raise unavailable("LEDGER_UNAVAILABLE", "away", 2)
        if request_id not in self.by_request:
            if amount > self.balance:
                raise LeaseRefused(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_BALANCE", "deposit some OPEN")
            self.balance -= amount
            name = f"leases/{len(self.by_request) + 1}"
            self.by_request[request_id] = Grant(name, amount, self.now + self.seconds)
        if self.deaf:
            raise unavailable("LEDGER_UNAVAILABLE", "the answer was lost", 2)
        return self.by_request[request_id]

    async def release(self, name: str, used: int, request_id: str) -> None:
        if self.away:
            raise unavailable("LEDGER_UNAVAILABLE", "away", 2)
        if name == "leases/over":
            raise LeaseOver(name)
        assert self.released.setdefault(name, (used, request_id)) == (used, request_id)
        self.balance += next(g.amount for g in self.by_request.values() if g.name == name) - used

    @property
    def open(self) -> set[str]:
        return {grant.name for grant in self.by_request.values()} - self.released.keys()


class House:
    """One service's life after another on one database."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.ledger, self.now = ledger, 0.0
        self.database = Database(f"sqlite:///{folder}/openlora.db")
        self.database.migrate(MIGRATIONS)
        self.log = DurableLog(self.database, store.METADATA, "traces")
        self.log.open()

    async def life(self) -> Spending:
        spending = Spending(
            self.database,
            self.log,
            self.ledger,
            chunk=1000,
            smallest=2,
            margin=60,
            idle=300,
            clock=lambda: self.now,
        )
        await spending.open()
        return spending

    async def answer(self, spending: Spending, key: str, most: int, fee: int) -> str:
        reservation = await spending.reserve(PAYER, most)
        await self.log.append(key, json.dumps({"lease": reservation.lease.name, "fee": str(fee)}).encode())
        reservation.settle(fee)
        return reservation.lease.name


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path, Ledger(10_000))
    yield house
    house.database.close()


async def refusal(spending: Spending, amount: int) -> Fault:
    with pytest.raises(Fault) as caught:
        await spending.reserve(PAYER, amount)
    return caught.value


async def test_many_answers_share_one_chunk(house):
    spending = await house.life()
    names = await asyncio.gather(*(house.answer(spending, f"k{i}", 10, 7) for i in range(40)))
    assert set(names) == {"leases/1"}
    assert house.ledger.asked == [1000]


async def test_a_dearer_answer_than_a_chunk_asks_for_what_it_needs(house):
    spending = await house.life()
    await spending.reserve(PAYER, 2500)
    assert house.ledger.asked[0] == 2500


async def test_the_next_lease_is_there_before_it_is_needed(house):
    spending = await house.life()
    await spending.reserve(PAYER, 400)
    assert house.ledger.asked == [1000]
    await spending.reserve(PAYER, 400)
    await asyncio.sleep(0.1)
    assert house.ledger.asked == [1000, 1000]
    house.ledger.away = True
    assert (await spending.reserve(PAYER, 900)).lease.name == "leases/2"


async def test_an_answer_that_was_expected_does_not_wait_for_the_ledger(house):
    spending = await house.life()
    for _ in range(3):
        spending.expect(PAYER)
    await asyncio.sleep(0.1)
    assert house.ledger.asked == [1000]
    house.ledger.away = True
    assert (await spending.reserve(PAYER, 400)).lease.name == "leases/1"


async def test_whoever_has_less_than_a_chunk_can_spend_it(house):
    house.ledger.balance = 30
    spending = await house.life()
    reservation = await spending.reserve(PAYER, 20)
    assert (reservation.lease.amount, house.ledger.asked[:3]) == (20, [1000, 125, 20])


async def test_whoever_has_not_enough_is_told_what_the_ledger_says(house):
    house.ledger.balance = 19
    spending = await house.life()
    fault = await refusal(spending, 20)
    assert (fault.code, fault.reason, fault.message) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "INSUFFICIENT_BALANCE",
        "deposit some OPEN",
    )
    assert spending.leases == 0
    assert await house.database.read(store.asked) == []


async def test_scattered_rests_are_put_together_when_nothing_else_helps(house):
    house.ledger.balance = 100
    spending = await house.life()
    await house.answer(spending, "a", 90, 40)
    # 50 are left in the lease and 10 with the ledger: neither is enough for 55.
    reservation = await spending.reserve(PAYER, 55)
    assert reservation.lease.name == "leases/2"
    assert house.ledger.released["leases/1"][0] == 40


async def test_a_refused_refill_is_not_asked_for_again_at_once(house):
    house.ledger.balance = 1000
    spending = await house.life()
    for _ in range(9):
        await spending.reserve(PAYER, 100)
        await asyncio.sleep(0.02)
    assert house.ledger.asked == [1000, 1000]


async def test_whoever_leaves_while_the_ledger_thinks_leaves_a_whole_lease(house):
    spending = await house.life()
    house.ledger.gate.clear()
    waiting = asyncio.create_task(spending.reserve(PAYER, 10))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    house.ledger.gate.set()
    assert (await spending.reserve(PAYER, 10)).lease.name == "leases/1"
    assert house.ledger.asked == [1000]


async def test_a_ledger_that_is_away_is_said_to_be_away_and_nothing_is_lost(house):
    spending = await house.life()
    house.ledger.away = True
    faults = await asyncio.gather(*(refusal(spending, 10) for _ in range(20)))
    assert {fault.reason for fault in faults} == {"LEDGER_UNAVAILABLE"}
    assert len(house.ledger.asked) == 1, "everybody waited for a ledger that was known to be away"
    house.ledger.away = False
    house.now = 1
    assert await spending.reserve(PAYER, 10)


async def test_a_lease_whose_grant_was_lost_on_the_way_is_found_again(house):
    spending = await house.life()
    house.ledger.deaf = True
    await refusal(spending, 10)
    assert house.ledger.open == {"leases/1"}
    house.ledger.deaf = False
    await spending.tend()
    reservation = await spending.reserve(PAYER, 10)
    assert reservation.lease.name == "leases/1"
    assert house.ledger.open == {"leases/1"}


async def test_a_restart_gives_every_lease_back_with_what_its_traces_cost(house):
    before = await house.life()
    await house.answer(before, "a", 100, 30)
    await house.answer(before, "b", 100, 12)
    await before.reserve(PAYER, 100)  # an answer that the kill cuts off
    after = await house.life()
    await house.answer(after, "c", 10, 5)
    await after.tend()
    assert house.ledger.released["leases/1"][0] == 42
    assert house.ledger.open == {"leases/2"}


async def test_a_restart_gives_back_a_lease_whose_grant_the_kill_cut_off(house):
    before = await house.life()
    house.ledger.deaf = True
    await refusal(before, 10)
    house.ledger.deaf = False
    after = await house.life()
    await after.tend()
    house.now = 301
    await after.tend()
    assert house.ledger.released["leases/1"][0] == 0
    assert house.ledger.balance == 10_000


async def test_a_ledger_that_is_away_at_the_start_gets_its_leases_back_later(house):
    before = await house.life()
    await house.answer(before, "a", 100, 30)
    house.ledger.away = True
    after = await house.life()
    with pytest.raises(Fault, match="away"):
        await after.tend()
    assert after.leases == 1
    house.ledger.away = False
    await after.tend()
    assert house.ledger.released["leases/1"][0] == 30
    assert after.leases == 0


async def test_a_lease_that_the_ledger_has_ended_is_forgotten(house):
    await house.database.write(lambda c: store.ask(c, store.Asked("r", PAYER, 5, 0)))
    await house.database.write(lambda c: store.hold(c, "r", "leases/over", 5, 100))
    spending = await house.life()
    await spending.tend()
    assert spending.leases == 0
    assert await house.database.read(store.held) == []


async def test_an_unused_lease_goes_back_after_a_while_and_one_in_use_does_not(house):
    spending = await house.life()
    reservation = await spending.reserve(PAYER, 10)
    house.now = 301
    await spending.tend()
    assert house.ledger.open == {"leases/1"}
    reservation.cancel()
    await spending.tend()
    assert house.ledger.open == set()
    assert house.ledger.balance == 10_000


async def test_the_end_gives_back_everything(house):
    spending = await house.life()
    await house.answer(spending, "a", 600, 600)
    await spending.close()
    assert house.ledger.open == set()
    assert house.ledger.balance == 10_000 - 600


async def test_leases_shorter_than_an_answer_are_refused_and_given_back(house):
    house.ledger.seconds = 30
    spending = await house.life()
    fault = await refusal(spending, 10)
    assert fault.reason == "LEASE_UNUSABLE"
    assert "MAX_ANSWER_SECONDS" in fault.message
    await spending.tend()
    assert house.ledger.open == set()
