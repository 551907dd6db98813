"""Several streams as one.  Knows nothing of what they carry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def together(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """What each stream gives, with the stream's number, as it comes; none is asked for more before that is taken.

    One that fails does not stop the others: when all have ended, the error of the first such stream is raised.
    Whoever stops listening closes them all.
    """
    if len(streams) == 1:  # nearly always, and each item would cost a task
        async with aclosing(streams[0]) as only:
            async for item in only:
                yield 0, item
        return
    errors: dict[int, Exception] = {}
    waiting = {asyncio.ensure_future(anext(stream)): number for number, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                number = waiting.pop(task)
                try:
                    item = task.result()
                except StopAsyncIteration:
                    continue
                except Exception as error:  # noqa: BLE001 - whatever it is, the others come first
                    errors[number] = error
                    continue
                yield number, item
                waiting[asyncio.ensure_future(anext(streams[number]))] = number
        if errors:
            raise errors[min(errors)]
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()
