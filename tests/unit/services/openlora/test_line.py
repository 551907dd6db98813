"""The line: order, number, and who leaves it."""

from __future__ import annotations

import asyncio
from collections import Counter

from services.openlora.line import Line


async def test_most_wanted_first_and_of_equals_the_one_that_came_first():
    wanted, order = Counter(a=1, b=1, c=5, d=1), list[str]()
    line, gate = Line(1, lambda name: wanted[name]), asyncio.Event()

    async def work(name: str) -> None:
        async with line.turn(name):
            order.append(name)
            await gate.wait()

    tasks = [asyncio.create_task(work(name)) for name in "abcd"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == ["a"]
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "c", "b", "d"]


async def test_no_more_at_once_than_may_and_none_lost_when_some_leave():
    line, inside, most = Line(3, lambda _: 0), 0, 0

    async def work(number: int) -> None:
        nonlocal inside, most
        async with line.turn(f"n{number}"):
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(0)
            finally:
                inside -= 1

    for _ in range(20):
        tasks = [asyncio.create_task(work(number)) for number in range(12)]
        for task in tasks[::3]:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert (most, inside) == (3, 0)
    async with line.turn("a"), line.turn("b"), line.turn("c"):
        pass


async def test_who_is_called_and_has_left_gives_its_turn_on():
    line = Line(1, lambda _: 0)
    held = asyncio.Event()

    async def hold() -> None:
        async with line.turn("first"):
            await held.wait()

    async def next_one() -> None:
        async with line.turn("second"):
            raise AssertionError("it had left")

    first, second = asyncio.create_task(hold()), asyncio.create_task(next_one())
    await asyncio.sleep(0.01)
    held.set()
    await first  # its turn has been given to the second, which has not run since
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    async with asyncio.timeout(1), line.turn("third"):
        pass
