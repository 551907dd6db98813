"""So many at once of each account."""

from __future__ import annotations

import asyncio
import gc

import pytest

from services.datanet.turns import Turns


async def test_an_account_waits_for_its_own_and_for_no_other():
    turns, entered = Turns(2), []

    async def enter(account: str) -> None:
        async with turns.of(account):
            entered.append(account)
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(enter(account)) for account in ("a", "a", "a", "b")]
    await asyncio.sleep(0.01)
    assert entered == ["a", "a", "b"]
    await asyncio.gather(*tasks)
    assert entered == ["a", "a", "b", "a"]


async def test_a_turn_that_is_given_up_or_fails_is_the_next_ones_and_nothing_is_kept():
    turns = Turns(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            async with turns.of("a"):
                raise ValueError("bad")
    gc.collect()
    assert not turns._of
