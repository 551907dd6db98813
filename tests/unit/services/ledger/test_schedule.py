"""When an epoch closes by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from services.kit.errors import denied, precondition
from services.ledger.schedule import CALLER, Schedule
from services.ledger.store import epochs
from services.ledger.store.epochs import State
from services.ledger.store.tables import EPOCH
from tests.epoch_world import PAYER, Ledger
from tests.ledger_world import a_receipt

DAY = 86_400


class Closing:
    """Closes nothing, and says so if it is told to."""

    def __init__(self):
        self.asked, self.fault = [], None

    async def close(self, asked):
        self.asked.append(asked)
        if self.fault:
            raise self.fault


@pytest.fixture
def closing():
    return Closing()


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.database.close()


def sealed(ledger, state: State, ago: float) -> None:
    """An epoch, so many seconds ago."""
    ledger.give(a_receipt(PAYER, "leases/1", 10**18))
    epoch, then = ledger.seal(), datetime.now(UTC) - timedelta(seconds=ago)
    ledger.write(lambda c: (epochs.advance(c, epoch, state), c.execute(update(EPOCH).values(create_time=then))))


@pytest.mark.parametrize(
    ("state", "ago", "seconds", "closes"),
    (
        (State.ACTIVE, DAY - 60, DAY, False),
        (State.ACTIVE, DAY + 60, DAY, True),
        (State.ACTIVE, 100 * DAY, 0, False),
        (State.VETOED, 100 * DAY, DAY, False),  # people must look first
    ),
)
async def test_an_epoch_closes_when_the_one_before_is_old(ledger, closing, state, ago, seconds, closes):
    sealed(ledger, state, ago)
    assert await Schedule(ledger.database, closing, seconds=seconds).step() is closes
    assert [asked.caller for asked in closing.asked] == [CALLER] * closes


async def test_none_closes_while_a_root_below_the_newest_is_struck_out(ledger, closing):
    sealed(ledger, State.ACTIVE, 3 * DAY)
    sealed(ledger, State.SEALED, 2 * DAY)
    first = ledger.database.read_now(lambda c: epochs.get(c, 1))
    ledger.write(lambda c: epochs.advance(c, first, State.VETOED))
    assert not await Schedule(ledger.database, closing, seconds=DAY).step()
    assert closing.asked == []


async def test_the_first_one_closes_so_long_after_the_start(ledger, closing):
    schedule = Schedule(ledger.database, closing, seconds=DAY)
    assert not await schedule.step()
    schedule._begun -= timedelta(days=1)
    assert await schedule.step()


@pytest.mark.parametrize("reason", ("EMPTY_EPOCH", "EPOCH_IN_PROGRESS", "BOOKS_WRONG"))
async def test_what_cannot_be_closed_now_is_closed_later(ledger, closing, reason):
    sealed(ledger, State.ACTIVE, 2 * DAY)
    closing.fault = precondition(reason, "not now")
    schedule = Schedule(ledger.database, closing, seconds=DAY)
    assert not await schedule.step()
    closing.fault = None
    assert await schedule.step()


async def test_another_refusal_is_heard(ledger, closing):
    sealed(ledger, State.ACTIVE, 2 * DAY)
    closing.fault = denied("SOMETHING_ELSE", "no")
    with pytest.raises(type(closing.fault)):
        await Schedule(ledger.database, closing, seconds=DAY).step()
