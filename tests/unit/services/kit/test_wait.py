from __future__ import annotations

import asyncio

import pytest

from services.kit.wait import happens


async def test_it_says_whether_it_happened():
    event = asyncio.Event()
    assert not await happens(event, 0.01)
    asyncio.get_running_loop().call_later(0.01, event.set)
    assert await happens(event, 100)
    assert await happens(event, 0), "it has happened"


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_told_to_stop_as_it_happens_stops(turns):
    event = asyncio.Event()

    async def work():
        while True:
            await happens(event, 100)
            event.clear()

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    working.cancel()
    done, _ = await asyncio.wait({working}, timeout=2)
    assert done
