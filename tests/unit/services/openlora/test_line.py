"""The line: order, number, and who leaves it."""

from __future__ import annotations

import asyncio
from collections import Counter

from services.openlora.line import Line


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def order_of(line: Line, names: str, clock: Clock, seconds: dict[str, float]) -> list[str]:
    """The order in which names have their turn that come one after the other, after so many seconds each."""
    order, gate = list[str](), asyncio.Event()

    async def work(name: str) -> None:
        async with line.turn(name):
            order.append(name)
            await gate.wait()

    tasks = []
    for name in names:
        clock.now += seconds.get(name, 1.0)
        tasks.append(asyncio.create_task(work(name)))
        await asyncio.sleep(0)
    clock.now += 1.0
    gate.set()
    await asyncio.gather(*tasks)
    return order


async def test_whose_askers_waited_longest_together_is_next():
    wanted, clock = Counter(a=1, b=1, c=5, d=1), Clock()
    line = Line(1, wanted.__getitem__, clock)
    assert await order_of(line, "abcd", clock, {}) == ["a", "c", "b", "d"]


async def test_who_waits_alone_comes_before_many_who_came_much_later():
    wanted, clock = Counter(a=1, b=1, c=5, d=9), Clock()
    line = Line(1, wanted.__getitem__, clock)
    assert await order_of(line, "abcd", clock, {"c": 60.0}) == ["a", "b", "c", "d"]


async def test_what_nobody_wants_any_more_comes_at_once_and_can_leave():
    wanted, clock = Counter(a=1, b=3, c=0, d=9), Clock()
    line = Line(1, wanted.__getitem__, clock)
    assert await order_of(line, "abcd", clock, {}) == ["a", "c", "b", "d"]


async def test_what_nobody_wants_any_more_leaves_though_no_turn_is_free():
    wanted, gate = Counter(a=1, b=1, c=1), asyncio.Event()
    line, gone = Line(1, wanted.__getitem__), list[str]()

    async def work(name: str) -> None:
        async with line.turn(name):
            if wanted[name]:
                await gate.wait()
        gone.append(name)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    await asyncio.sleep(0)
    wanted["b"] = 0
    line.look()
    await asyncio.sleep(0)
    assert (gone, line.at_work) == (["b"], {"a"})
    gate.set()
    await asyncio.gather(*tasks)
    assert gone == ["b", "a", "c"]


async def test_what_may_not_come_now_waits_until_it_is_looked_at_again():
    wanted: dict[str, int | None] = {"a": None, "b": 1}
    line, order = Line(1, wanted.__getitem__), list[str]()

    async def work(name: str) -> None:
        async with line.turn(name):
            order.append(name)

    tasks = [asyncio.create_task(work(name)) for name in "ab"]
    await tasks[1]
    assert order == ["b"]
    wanted["a"] = 1
    line.look()
    await tasks[0]
    assert order == ["b", "a"]


async def test_no_more_at_once_than_may_and_none_lost_when_some_leave():
    line, inside, most = Line(3, lambda _: 1), 0, 0

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


async def test_when_all_who_wait_leave_at_once_the_line_goes_on():
    line, held = Line(1, lambda _: 1), asyncio.Event()

    async def work(name: str) -> None:
        async with line.turn(name):
            await held.wait()

    tasks = [asyncio.create_task(work(name)) for name in "abcd"]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {asyncio.CancelledError}
    async with asyncio.timeout(1), line.turn("e"):
        assert line.at_work == {"e"}
