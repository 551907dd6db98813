"""What leases reserve while receipts wait, for whatever: it is there when they come; on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from openledger import receipt
from services.kit.errors import Fault
from services.ledger import check, journal, spend
from services.ledger.consume import NOTED_SECONDS, Receipts
from services.ledger.lease import COLLECT_SECONDS, Times
from services.ledger.reading import BREAK_SECONDS, PACE
from services.ledger.reports import Reports
from services.ledger.store import books, payers, receipts_read
from services.ledger.store.tables import LEASE, RECEIPTS_READ
from tests.books_world import event
from tests.epoch_world import PAYER, Ledger
from tests.intake_world import GRACE, ROOM, Clock, at, reading, reasons
from tests.ledger_world import OPEN, SIGNER, a_receipt

LASTS = 100
TIMES = Times(LASTS, GRACE, ROOM)
DAY = 86_400


class Payer:
    """One with a deposit of one OPEN, and the ledger that keeps it."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger, self.clock = ledger, clock
        ledger.read_chain(clock.now)
        ledger.write(lambda c: books.post(c, journal.deposit(event(1), PAYER.address, OPEN)))

    def lease(self, *, authorised: float = 30 * DAY) -> str:
        """Over all of it, under an authorisation of so many seconds."""
        now, deadline = self.clock.now, int(self.clock.now + authorised)

        def act(c):
            spend.authorise(c, PAYER.address, 10 * OPEN, deadline, b"s", now)
            return spend.acquire(c, PAYER.address, OPEN, TIMES, now).name

        return self.ledger.write(act)

    def refused(self, amount: int) -> str:
        """Why there is no other lease of so much; empty where there is."""
        try:
            self.ledger.write(lambda c: spend.acquire(c, PAYER.address, amount, TIMES, self.clock.now))
        except Fault as fault:
            return fault.reason
        return ""

    @property
    def reserved(self) -> int:
        def act(c):
            read = receipts_read.until(c, self.clock.now)
            return sum(one.reserved(read) for one in payers.open_leases(c, PAYER.address, read))

        return self.ledger.database.read_now(act)

    @property
    def left(self) -> float:
        """For how many seconds, by which it ends, something is reserved."""

        def act(c):
            return c.execute(select(LEASE.c.reserved_until)).scalar() - receipts_read.until(c, self.clock.now)

        return self.ledger.database.read_now(act)

    @property
    def balance(self) -> int:
        return self.ledger.database.read_now(lambda c: payers.get(c, PAYER.address)).balance

    async def pass_time(self, world, seconds: int) -> None:
        """Nothing is awry meanwhile."""
        for passed in (BREAK_SECONDS,) * (seconds // BREAK_SECONDS) + (seconds % BREAK_SECONDS,):
            self.clock.now += passed
            self.ledger.read_chain(self.clock.now)
            await world.step()

    def receipt(self, lease: str, fee: int = OPEN):
        return a_receipt(PAYER, lease, fee, end_time=at(self.clock.now))


@pytest.fixture
def payer(database_url, tmp_path, monkeypatch):
    ledger = Ledger(tmp_path, database_url)
    yield Payer(ledger, Clock(monkeypatch))
    ledger.database.close()


async def test_what_receipts_that_wait_are_paid_from_is_lent_to_nobody(payer, monkeypatch):
    ledger, clock = payer.ledger, payer.clock
    async with reading(ledger, monkeypatch) as world:
        await world.step()
        world.give(payer.receipt(payer.lease()))
        ledger.read_chain(None)
        clock.now += DAY  # no node answers
        assert payer.refused(1) == "INSUFFICIENT_BALANCE"
        shown = await Reports(ledger.database, outlive=0).balance(PAYER.address)
        assert (shown.leased, shown.spendable) == (str(OPEN), "0")
        ledger.write(lambda c: payers.set_withdrawing(c, PAYER.address, OPEN))
        ledger.read_chain(clock.now)
        assert await world.step() == 1
    assert (reasons(ledger), payer.balance, payer.reserved) == ({}, 0, 0)
    assert ledger.database.read_now(check.check).ok


async def test_after_a_break_receipts_have_as_long_again_and_then_nothing_is_reserved(payer, monkeypatch):
    """Attribution cannot make receipts before splits are told again: they come when the log was read to its end."""
    ledger, lasted = payer.ledger, 1000
    async with reading(ledger, monkeypatch) as world:
        await world.step()
        lease, before = payer.lease(), payer.left
        first, second = (payer.receipt(lease, OPEN // 4) for _ in range(2))
        ledger.read_chain(None)
        payer.clock.now += lasted - NOTED_SECONDS
        assert (await world.step(), payer.reserved) == (0, OPEN)  # the log was read to its end, and the chain was not
        payer.clock.now += NOTED_SECONDS
        world.give(first)
        ledger.read_chain(payer.clock.now)
        assert (await world.step(), payer.reserved, payer.left) == (1, 3 * OPEN // 4, before)
        await payer.pass_time(world, lasted)
        assert payer.left == before
        await payer.pass_time(world, int(before / PACE) - 1)
        ledger.write(lambda c: payers.set_withdrawing(c, PAYER.address, OPEN))
        world.give(second)
        await world.step()
        assert (reasons(ledger), payer.reserved) == ({}, OPEN // 2)
        await payer.pass_time(world, 10)
        assert payer.reserved == 0
        world.give(late := payer.receipt(lease, OPEN // 4))
        await world.step()
    assert reasons(ledger) == {late.digest(): "INSUFFICIENT_BALANCE"}


async def test_a_lease_of_after_a_break_is_held_too_for_its_receipts_come_behind_those_of_the_break(payer, monkeypatch):
    """Attribution makes them a fifth faster than answers come: the last answer of the lease has its one much later."""
    ledger, lasted = payer.ledger, 2 * 3600
    async with reading(ledger, monkeypatch) as world:
        await world.step()
        ledger.read_chain(None)
        payer.clock.now += lasted
        ledger.read_chain(payer.clock.now)
        await world.step()
        lease = payer.lease()
        await payer.pass_time(world, LASTS)
        found = payer.receipt(lease)
        await payer.pass_time(world, int((lasted + LASTS) / 1.2) - LASTS)
        assert payer.refused(1) == "INSUFFICIENT_BALANCE"
        ledger.write(lambda c: payers.set_withdrawing(c, PAYER.address, OPEN))
        world.give(found)
        await world.step()
    assert (reasons(ledger), payer.balance) == ({}, 0)


async def test_a_lease_of_long_after_a_break_ends_as_ever(payer, monkeypatch):
    ledger, lasted = payer.ledger, 2 * BREAK_SECONDS
    async with reading(ledger, monkeypatch) as world:
        await world.step()
        payer.clock.now += lasted
        ledger.read_chain(payer.clock.now)
        await world.step()
        await payer.pass_time(world, 5 * lasted)
        payer.lease()
        await payer.pass_time(world, LASTS + GRACE)
        assert payer.reserved == 0


async def test_breaks_that_come_again_and_again_hold_nothing_for_ever(payer, monkeypatch):
    """Whoever reads or makes receipts falls and rises: what no receipt comes for is free one day."""
    async with reading(payer.ledger, monkeypatch) as world:
        await world.step()
        payer.lease()
        for _ in range(8):
            await payer.pass_time(world, 4 * BREAK_SECONDS)
            payer.clock.now += BREAK_SECONDS + 10
            payer.ledger.read_chain(payer.clock.now)
            await world.step()
    assert payer.reserved == 0


@pytest.mark.parametrize("away", (BREAK_SECONDS + 1, DAY))
async def test_a_ledger_that_was_away_finds_reserved_what_was(payer, monkeypatch, away):
    async with reading(payer.ledger, monkeypatch) as world:
        await world.step()
    lease, left = payer.lease(), payer.left
    found = payer.receipt(lease, OPEN // 2)
    payer.clock.now += away
    payer.ledger.write(lambda c: receipts_read.begin(c, "attribution/receipts", payer.clock.now))
    payer.ledger.read_chain(payer.clock.now)
    assert payer.reserved == OPEN
    async with reading(payer.ledger, monkeypatch, found) as world:
        assert await world.step() == 1
    assert (reasons(payer.ledger), payer.reserved) == ({}, OPEN // 2)
    assert payer.left == left


async def test_what_takes_no_longer_than_usual_is_no_break(payer, monkeypatch):
    async with reading(payer.ledger, monkeypatch) as world:
        await world.step()
        payer.lease()
        left = payer.left
        await payer.pass_time(world, BREAK_SECONDS)
        assert payer.left == left - BREAK_SECONDS
        await payer.pass_time(world, int(payer.left))
        assert payer.reserved == 0
        payer.clock.now += DAY
        payer.ledger.read_chain(payer.clock.now)
        await world.step()
        assert payer.reserved == 0  # what had ended before a break stays so
    assert payer.refused(OPEN) == ""


@pytest.mark.parametrize("ahead", (3, 200))
async def test_that_receipts_were_read_is_noted_where_there_is_always_one_that_has_not_ended(payer, monkeypatch, ahead):
    """OpenLoRA's clock is ahead: the log is never read to its end, and yet what is in it is read, so much later."""
    ledger, clock, every, rounds = payer.ledger, payer.clock, 20, 40
    noted = []
    async with reading(ledger, monkeypatch) as world:
        await world.step()
        for number in range(rounds):
            clock.now += every
            ledger.read_chain(clock.now)
            world.give(a_receipt(PAYER, "leases/1", 1, end_time=at(clock.now + ahead)))
            if number * every > ahead:
                assert await world.step()
                assert world.behind
                noted.append(ledger.database.read_now(lambda c: c.execute(select(RECEIPTS_READ)).one()))
    assert clock.now - ahead - 3 * every < noted[-1].time < clock.now - ahead
    assert noted[-1].goes == noted[rounds // 3].goes  # that they come late all the time is no break


async def test_that_a_receipt_waits_for_its_answers_end_is_no_break(payer, monkeypatch):
    """One comes now and then, by an OpenLoRA whose clock is ahead; Attribution makes them, and is not behind."""
    ledger, clock = payer.ledger, payer.clock
    async with reading(ledger, monkeypatch) as world:
        await world.step()
        for _ in range(3):
            world.give(a_receipt(PAYER, "leases/1", 1, end_time=at(clock.now + 300)))
            async with world.waiting():
                for _ in range(3):
                    clock.now += 100
                    ledger.read_chain(clock.now)
                    await asyncio.sleep(0.1)
            await payer.pass_time(world, 300)
            assert ledger.database.read_now(lambda c: receipts_read.until(c, clock.now)) > clock.now - BREAK_SECONDS
        ledger.read_chain(None)
        world.give(a_receipt(PAYER, "leases/1", 1, end_time=at(clock.now)))
        async with world.waiting():
            clock.now += 300  # that it waits for splits is one
            ledger.read_chain(clock.now)
        clock.now += NOTED_SECONDS
        await world.step()
        assert 300 <= clock.now - ledger.database.read_now(lambda c: receipts_read.until(c, clock.now)) < 350


async def test_while_splits_are_not_known_it_is_not_tried_with_each_step(payer, monkeypatch):
    """It would take the books' lock each time."""
    tried, real = [], Receipts._note
    monkeypatch.setattr(Receipts, "_note", lambda *given: (tried.append(payer.clock.now), real(*given)))
    found = a_receipt(PAYER, "leases/1", 1)
    of_base = replace(found, model=replace(found.model, adapter=""), end_time=at(payer.clock.now))
    async with reading(payer.ledger, monkeypatch) as world:
        payer.ledger.read_chain(None)
        for _ in range(4):
            world.give(receipt.sign(of_base, SIGNER.private_key))
            await world.step()
            payer.clock.now += NOTED_SECONDS / 2
    assert len(tried) == 2
    assert payer.ledger.database.read_now(lambda c: c.execute(select(RECEIPTS_READ)).first()) is None


async def test_what_was_asked_before_it_was_anothers_turn_is_not_noted_after_it(payer, monkeypatch):
    ledger, clock = payer.ledger, payer.clock
    async with reading(ledger, monkeypatch) as world:
        world.give(*(a_receipt(PAYER, "leases/1", 1, end_time=at(clock.now + more)) for more in (0, 60)))
        assert (await world.step(), world.behind) == (1, 1)
        clock.now += 500
        ledger.read_chain(clock.now)
        ledger.write(lambda c: receipts_read.note(c, "attribution/receipts", clock.now))  # by the other one
        world.give(a_receipt(PAYER, "leases/1", 1, end_time=at(clock.now + 300)))
        run = asyncio.create_task(world.receipts.run())
        async with asyncio.timeout(30):
            while len(reasons(ledger)) < 2 or world.looks < 5:
                await asyncio.sleep(0.01)
        run.cancel()
    assert ledger.database.read_now(lambda c: c.execute(select(RECEIPTS_READ.c.time)).scalar()) == int(clock.now)


@pytest.mark.parametrize(
    ("left", "reason"), ((COLLECT_SECONDS + 1, None), (COLLECT_SECONDS - 1, "AUTHORISATION_ENDED"))
)
async def test_what_a_lease_reserves_is_booked_while_it_can_be_redeemed(payer, monkeypatch, left, reason):
    async with reading(payer.ledger, monkeypatch) as world:
        await world.step()
        found = payer.receipt(payer.lease(authorised=DAY))
        payer.clock.now += DAY - left
        payer.ledger.read_chain(payer.clock.now)
        world.give(found)
        await world.step()
    assert reasons(payer.ledger).get(found.digest()) == reason
    [line] = (
        payer.ledger.database.read_now(lambda c: payers.leaving(c, payer.clock.now, ROOM)) if not reason else [None]
    )
    assert line is None or line.spent == OPEN  # and is redeemed at once, whatever epochs do


def test_where_no_receipts_are_read_leases_end_by_the_clock(payer):
    payer.lease()
    payer.clock.now += LASTS + GRACE - 1
    assert payer.reserved == OPEN
    payer.ledger.write(lambda c: receipts_read.begin(c, "log", payer.clock.now))
    payer.clock.now += 1
    assert payer.reserved == OPEN
    payer.ledger.write(lambda c: receipts_read.end(c, "log"))
    assert payer.reserved == 0


def test_a_clock_that_is_put_back_reads_no_later_than_it_shows(payer):
    now = payer.clock.now
    for when in (now, now - 500, now - 400):
        payer.ledger.write(lambda c, w=when: receipts_read.note(c, "log", w))
        found = [payer.ledger.database.read_now(lambda c, t=t: receipts_read.until(c, t)) for t in (now - 1000, now)]
        assert found == [now - 1000, int(when)]
