"""Which receipts wait, for what, and by what they are judged then; on both databases."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from openledger import receipt
from openledger.split import Rule
from services.ledger import consume
from services.ledger.chain import ChainUnavailable
from services.ledger.consume import Receipts
from services.ledger.registries import Split
from services.ledger.store import splits
from tests.epoch_world import LAG, PAYER, Ledger
from tests.intake_world import REVISION, Clock, at, reading, reasons
from tests.ledger_world import SIGNER, a_receipt

LONG_AGO = "2026-01-02T03:04:06.000000Z"
OTHERS = Rule(developer_bps=100, stakers_bps=0)
NO_LEASE, NOT_IN_FORCE = "UNKNOWN_LEASE", "SPLIT_NOT_IN_FORCE"
"""There is no lease here: that is what is found wrong with receipts that are right in all else."""


@pytest.fixture
def ledger(database_url, tmp_path):
    found = Ledger(tmp_path, database_url)
    yield found
    found.database.close()


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def answered(end_time=LONG_AGO, **changes):
    return a_receipt(PAYER, "leases/1", 10**18, **{"end_time": end_time} | changes)


def of_base(end_time=LONG_AGO):
    return answered(end_time, model=replace(answered().model, adapter=""))


async def test_receipts_wait_until_the_chain_was_read_and_are_judged_by_what_it_says_then(ledger, monkeypatch):
    of_before, by_it = answered(), answered(rule=OTHERS)
    ledger.read_chain(None)
    async with reading(ledger, monkeypatch, of_before, by_it) as world, world.waiting() as step:
        ledger.hold(REVISION, Split(100, 0), 100)
        ledger.read_chain(time.time())
        assert await step == 2
    assert reasons(ledger) == {of_before.digest(): NOT_IN_FORCE, by_it.digest(): NO_LEASE}


async def test_receipts_that_no_split_concerns_do_not_wait_for_splits(ledger, monkeypatch):
    """Of the base model, of before receipts said their time, by a stranger, and none at all; until one that waits."""
    stranger = receipt.sign(answered(), PAYER.private_key)
    first = [of_base(), answered(""), stranger]
    after = [answered(), of_base()]
    ledger.read_chain(None)
    async with reading(ledger, monkeypatch, *first) as world:
        world.give(b"no receipt", *after)
        assert await world.step() == 4
        assert sorted(reasons(ledger).values()) == ["BAD_SIGNATURE", "UNKNOWN_LEASE", "UNKNOWN_LEASE", "UNREADABLE"]
        assert world.behind == 2
        async with world.waiting():
            ledger.read_chain(time.time())
    assert {reasons(ledger)[one.digest()] for one in after} == {NO_LEASE}


@pytest.mark.parametrize("pages", (1, 2, 5))
async def test_how_many_wait_is_seen_while_they_wait(ledger, monkeypatch, pages):
    """All of them, and not those that come after the page that was read last."""
    monkeypatch.setattr(consume, "PAGE", -(-5 // pages))
    async with reading(ledger, monkeypatch, *(answered(at(time.time())) for _ in range(5))) as world:
        ledger.read_chain(None)
        async with world.waiting():
            assert world.behind == 5
            ledger.read_chain(time.time())
        assert (world.behind, len(reasons(ledger))) == (0, 5)


async def test_a_receipt_waits_until_its_answer_has_ended_and_is_judged_by_what_holds_then(ledger, clock, monkeypatch):
    """Before, it could be booked by a split that is the wrong one by then, or refused for one that is right by then."""
    ends = int(clock.now) + 100
    before, right, wrong = answered(LONG_AGO), answered(at(ends), rule=OTHERS), answered(at(ends))
    ledger.read_chain(clock.now)
    async with reading(ledger, monkeypatch, before, right, wrong, of_base(at(ends))) as world:
        assert await world.step() == 1  # those before it do not wait
        async with world.waiting() as step:
            ledger.hold(REVISION, Split(100, 0), ends - LAG)
            clock.now = ends
            assert await step == 3
    found = reasons(ledger)
    assert [found[one.digest()] for one in (before, right, wrong)] == [NO_LEASE, NO_LEASE, NOT_IN_FORCE]


async def test_an_answer_that_is_to_end_when_no_clock_is_yet_is_refused(ledger, clock, monkeypatch):
    ledger.read_chain(clock.now)
    found = [answered(at(clock.now + LAG + 1)), of_base(at(clock.now + 10**9))]
    async with reading(ledger, monkeypatch, *found) as world:
        world.block_time = lambda: int(clock.now)
        assert await world.step() == 2
    assert set(reasons(ledger).values()) == {"NOT_ENDED"}


@pytest.mark.parametrize("blocks", ("told", "not told"))
async def test_a_clock_that_is_hours_behind_has_receipts_wait_and_refuses_none(ledger, clock, monkeypatch, blocks):
    """Which of two clocks is wrong is not known: the chain's newest block is later than this one."""
    right, away = clock.now, ChainUnavailable("away")
    clock.now = right - 2 * 3600
    ledger.read_chain(clock.now)
    found, never = answered(at(right)), answered(at(right + LAG + 5))

    def block_time() -> int:
        if blocks == "not told":
            raise away
        return int(right)

    async with reading(ledger, monkeypatch, found, never) as world:
        world.block_time = block_time
        async with world.waiting():
            assert reasons(ledger) == {}
            clock.now = right
            ledger.read_chain(clock.now)
        world.block_time = lambda: int(right)
        if len(reasons(ledger)) == 1:
            assert await world.step() == 1
    assert reasons(ledger) == {found.digest(): NO_LEASE, never.digest(): "NOT_ENDED"}


async def test_a_chain_that_has_been_quiet_for_long_is_no_second_clock(ledger, clock, monkeypatch):
    """Nothing was sent for an hour: its newest block says nothing of a clock that is behind by two."""
    right = clock.now
    clock.now = right - 2 * 3600
    ledger.read_chain(clock.now)
    blocks, found, never = [clock.now - 3600], answered(at(right)), answered(at(right + 2 * LAG))
    async with reading(ledger, monkeypatch, found, never) as world:
        world.block_time = lambda: int(blocks[-1])
        async with world.waiting() as step:
            assert reasons(ledger) == {}
            clock.now = right
            ledger.read_chain(right)
            assert await step == 1  # nor of the other one, whoever made it
        async with world.waiting():
            blocks.append(right)
    assert reasons(ledger) == {found.digest(): NO_LEASE, never.digest(): "NOT_ENDED"}


async def test_a_chain_that_cannot_be_asked_once_is_asked_again(ledger, clock, monkeypatch):
    ledger.read_chain(clock.now)
    times = iter((ChainUnavailable("away"),) * 3)

    def block_time() -> int:
        for error in times:
            raise error
        return int(clock.now)

    async with reading(ledger, monkeypatch, answered(at(clock.now + LAG + 1))) as world:
        world.block_time = block_time
        assert await world.step() == 1
    assert (world.looks, list(reasons(ledger).values())) == (4, ["NOT_ENDED"])


@pytest.mark.parametrize("signer", (SIGNER, PAYER))
async def test_a_receipt_by_a_stranger_holds_nobody_up(ledger, clock, monkeypatch, signer):
    ledger.read_chain(clock.now)
    found = receipt.sign(answered(at(clock.now + 60)), signer.private_key)
    async with reading(ledger, monkeypatch, found, of_base()) as world:
        if signer is PAYER:
            assert await world.step() == 2
            assert reasons(ledger)[found.digest()] == "BAD_SIGNATURE"
            return
        async with world.waiting():
            clock.now += 61
            ledger.read_chain(clock.now)


def there_and_back(ledger):
    """A change that came, while the chain was not known and is again."""
    ledger.read_chain(None)
    ledger.hold(REVISION, Split(100, 0), 100)
    ledger.read_chain(time.time())


def taken_back(ledger):
    """A change that went, likewise."""
    ledger.read_chain(None)
    ledger.write(lambda c: splits.forget_after(c, 0))
    ledger.read_chain(time.time())


@pytest.mark.parametrize(
    ("change", "held", "expected"),
    ((there_and_back, False, NOT_IN_FORCE), (taken_back, True, NO_LEASE)),
)
async def test_what_was_judged_by_another_history_is_judged_again_at_once(ledger, monkeypatch, change, held, expected):
    real, judged = Receipts._judge, []

    def late(receipts, candidates, connection):
        found = real(receipts, candidates, connection)
        judged.append(found)
        if len(judged) == 1:
            change(ledger)
        return found

    monkeypatch.setattr(Receipts, "_judge", late)
    if held:
        ledger.hold(REVISION, Split(100, 0), 100)
    async with reading(ledger, monkeypatch, answered()) as world:
        assert await world.step() == 1
    assert (len(judged), list(reasons(ledger).values())) == (2, [expected])


async def test_what_was_judged_before_the_chain_went_back_waits_until_it_is_read(ledger, monkeypatch):
    real, judged = Receipts._judge, []

    def late(receipts, candidates, connection):
        found = real(receipts, candidates, connection)
        judged.append(found)
        if len(judged) == 1:
            ledger.read_chain(None)
        return found

    monkeypatch.setattr(Receipts, "_judge", late)
    async with reading(ledger, monkeypatch, answered()) as world, world.waiting():
        assert (len(judged), reasons(ledger)) == (1, {})
        ledger.hold(REVISION, Split(100, 0), 100)
        ledger.read_chain(time.time())
    assert (len(judged), list(reasons(ledger).values())) == (2, [NOT_IN_FORCE])
