"""What the traces on disk have charged to each lease, while old ones go from the log."""

from __future__ import annotations

import json

import pytest

from services.openlora.charges import Charges
from tests.unit.services.openlora.test_spend import House, Ledger


@pytest.fixture
async def log(tmp_path):
    house = House(tmp_path, Ledger(0))
    yield house.log
    house.database.close()


async def charge(log, number: int, lease: str, fee: int) -> int:
    return await log.append(str(number), json.dumps({"lease": lease, "fee": str(fee)}).encode())


async def test_each_entry_counts_once_for_its_lease_alone(log):
    charges = Charges(log)
    charges.track("a", 0)
    for number, (lease, fee) in enumerate((("a", 3), ("b", 5), ("a", 7))):
        await charge(log, number, lease, fee)
    assert await charges.used("a") == await charges.used("a") == 10


async def test_a_lease_that_came_while_another_was_given_back_is_counted_though_what_was_before_it_went(log):
    charges = Charges(log)
    charges.track("a", 0)
    await charge(log, 1, "a", 3)
    assert await charges.used("a") == 3
    end = await charge(log, 2, "another service's", 5)
    charges.track("b", end)
    charges.forget("a")
    await log.compact(end)
    await charge(log, 3, "b", 7)
    assert await charges.used("b") == 7


async def test_leases_of_former_lives_are_counted_from_where_the_first_began(log):
    for number in range(4):
        await charge(log, number, "a", 2**number)
    await log.compact(1)
    charges = Charges(log)
    charges.resume({"a": 2, "b": 1})
    assert (await charges.used("a"), await charges.used("b")) == (2 + 4 + 8, 0)
