"""Several streams as one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from services.openlora.together import together

CLOSED: list[str] = []


async def letters(text: str, fails: bool = False):
    try:
        for letter in text:
            await asyncio.sleep(0)
            yield letter
        if fails:
            raise ValueError(text)
    finally:
        CLOSED.append(text)


@pytest.fixture(autouse=True)
def nothing_closed():
    CLOSED.clear()


async def heard(*streams, said: dict[int, str] | None = None) -> dict[int, str]:
    said = {} if said is None else said
    async for number, letter in together(streams):
        said[number] = said.get(number, "") + letter
    return said


@pytest.mark.parametrize("texts", ((), ("one",), ("one", "", "three"), ("a", "bcdefgh", "ij")))
async def test_every_stream_is_heard_to_its_end_and_in_its_order(texts):
    assert await heard(*map(letters, texts)) == {number: text for number, text in enumerate(texts) if text}
    assert sorted(CLOSED) == sorted(texts)


async def test_one_that_fails_does_not_stop_the_others_and_is_told_of_at_the_end():
    said = {}
    with pytest.raises(ValueError, match="early"):
        await heard(letters("longer"), letters("early", fails=True), letters("x", fails=True), said=said)
    assert said == {0: "longer", 1: "early", 2: "x"}


async def test_whoever_stops_listening_closes_them_all():
    async def forever():
        try:
            await asyncio.Event().wait()
            yield ""
        finally:
            CLOSED.append("forever")

    async with aclosing(together([letters("abc"), forever(), letters("def")])) as said:
        await anext(said)
    assert sorted(CLOSED) == ["abc", "def", "forever"]


@pytest.mark.parametrize("count", (1, 2))
async def test_nothing_is_asked_for_before_it_is_wanted(count):
    asked = 0

    async def counted():
        nonlocal asked
        while True:
            asked += 1
            yield asked

    async with aclosing(together([counted() for _ in range(count)])) as said:
        given = [await anext(said) for _ in range(4)]
        await asyncio.sleep(0.01)
        assert asked - len(given) <= count - 1
