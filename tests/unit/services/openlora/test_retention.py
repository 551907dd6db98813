"""Which of the first traces in a log can go, and that no lease's use is ever counted wrongly by it."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from services.kit.errors import Fault
from services.kit.payer_keys import PayerKeys
from services.openlora.retention import Retention, going
from services.openlora.sealing import Head
from services.openlora.store import METADATA
from services.openlora.tracelog import TraceLog
from tests.unit.services.openlora.test_sealing import TRACE
from tests.unit.services.openlora.test_spend import House, Ledger

PAYERS = tuple("accounts/0x" + letter * 40 for letter in "abc")


def account(offset: int, day: int):
    head = Head("accounts/0x" + "a" * 40, "leases/1", 1, "0" * 64, 1, 1, "stop", f"2026-01-{day:02}T00:00:00.000000Z")
    return offset, f"{offset:032}", head


ACCOUNTS = [account(5, 1), account(6, 2), account(7, 4), account(8, 3)]


@pytest.mark.parametrize(
    ("through", "before", "gone"),
    (
        (8, "2026-01-05T00:00:00.000000Z", [5, 6, 7, 8]),
        (6, "2026-01-05T00:00:00.000000Z", [5, 6]),
        (4, "2026-01-05T00:00:00.000000Z", []),
        (8, "2026-01-02T00:00:00.000000Z", [5]),
        (8, "2026-01-03T12:00:00.000000Z", [5, 6]),
        (8, "2026-01-01T00:00:00.000000Z", []),
    ),
    ids=("all", "what is acknowledged", "none is", "what is old", "none past the first that is young", "none is old"),
)
def test_only_the_first_go_and_only_what_is_acknowledged_and_old(through, before, gone):
    assert [offset for offset, _, _ in going(ACCOUNTS, through, before)] == gone


class Business:
    """A service that answers, dies and lets traces go at random, at a ledger whose answers get lost."""

    def __init__(self, house: House, traces: TraceLog, seed: int) -> None:
        self.house, self.traces, self.random = house, traces, random.Random(seed)
        self.retention = Retention(house.database, house.log, traces, days=1, clock=lambda: 4_000_000_000)
        self.spending, self.fees, self.gone, self.number = None, Counter(), 0, 0

    async def act(self) -> None:
        acts = {self.answer: 8, self.let_go: 4, self.tend: 3, self.begin: 1, self.lose: 1}
        (act,) = self.random.choices(list(acts), list(acts.values()))
        await act()

    async def begin(self) -> None:
        """A new life; the one before is killed."""
        self.spending = await self.house.life()

    async def lose(self) -> None:
        self.house.ledger.deaf = not self.house.ledger.deaf

    async def answer(self) -> None:
        self.number += 1
        fee = self.random.randint(1, 50)
        try:
            reservation = await self.spending.reserve(self.random.choice(PAYERS), 50)
        except Fault:
            return
        lease = reservation.lease
        key = f"responses/{self.number:032}"
        await self.traces.append(replace(TRACE, response=key, payer=lease.account, lease=lease.name, fee=fee))
        reservation.settle(fee)
        self.fees[lease.name] += fee

    async def let_go(self) -> None:
        await self.traces.acknowledge(self.random.randint(0, self.traces.end))
        self.gone += await self.retention.step()

    async def tend(self) -> None:
        self.house.now += self.random.choice((1, 100, 400))
        self.house.ledger.now = self.house.now
        with suppress(Fault):  # an answer that is lost, or comes when its lease is of no more use
            await self.spending.tend()

    async def finish(self) -> None:
        self.house.ledger.deaf = False
        await self.begin()
        for _ in range(4):
            await self.tend()
            self.house.now += 5000


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_goes_and_whatever_dies_every_lease_is_given_back_with_its_traces_fees(tmp_path, seed):
    house = House(tmp_path, Ledger(10**6))
    traces = TraceLog(house.database, house.log, PayerKeys(house.database, METADATA, bytes(32)), most_behind=10**6)
    await traces.open()
    business = Business(house, traces, seed)
    await business.begin()
    for _ in range(150):
        await business.act()
    await business.finish()
    house.database.close()
    assert business.gone > 20
    assert house.ledger.open == set()
    assert {name: used for name, (used, _) in house.ledger.released.items() if used} == dict(business.fees)
