from __future__ import annotations

import asyncio
import threading

import pytest

from services.kit.wait import happens, stop, to_its_end, whole


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


async def test_a_task_that_was_stopped_has_ended_whoever_is_cancelled_meanwhile():
    ending, may_end, ended = asyncio.Event(), asyncio.Event(), []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await may_end.wait()
            ended.append(True)

    task = asyncio.create_task(slow())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(stop(task))
    await ending.wait()
    stopping.cancel()
    await asyncio.sleep(0)
    assert not stopping.done(), "what the task holds must not outlive whoever stops it"
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert ended == [True]


async def test_what_a_stopped_task_raised_stays_in_it():
    async def fails():
        raise ZeroDivisionError

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await stop(task)
    assert isinstance(task.exception(), ZeroDivisionError)


async def test_a_thread_is_waited_for_also_when_we_are_to_end():
    begun, may_end, ended = threading.Event(), threading.Event(), []

    def slow(word):
        begun.set()
        may_end.wait(10)
        ended.append(word)
        return word

    waiting = asyncio.create_task(to_its_end(slow, "done"))
    await asyncio.to_thread(begun.wait, 10)
    waiting.cancel()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["done"]
    assert await to_its_end(slow, word="again") == "again"


async def test_work_of_several_steps_is_not_broken_off_between_them_and_what_it_raises_is_heard():
    go, done = asyncio.Event(), []

    async def work():
        await go.wait()
        done.append(1)
        await asyncio.sleep(0)
        done.append(2)
        raise ZeroDivisionError

    working = asyncio.create_task(whole(work()))
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert done == [1, 2]
    with pytest.raises(ZeroDivisionError):
        await whole(work())
