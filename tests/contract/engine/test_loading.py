"""Adapters come in beside what is being answered: nobody waits for somebody else's."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from services.openlora.engine import AdapterRef
from tests.engine_world import SETTINGS, answer, ask
from tests.slow_adapters import SECONDS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


def slow_copy(adapter: AdapterRef, folder: Path, name: str) -> AdapterRef:
    copy = AdapterRef(name * 64, shutil.copytree(adapter.path, folder / name))
    (copy.path / "slow").touch()
    return copy


async def longest_gap(engine, adapter: AdapterRef | None, until: asyncio.Task) -> float:
    """Answers, one after the other, while something goes on: the longest that one had no token, in seconds."""
    longest, last = 0.0, time.monotonic()
    while not until.done():
        async with aclosing(engine.generate(ask(100, adapter))) as deltas:
            async for _ in deltas:
                now = time.monotonic()
                longest, last = max(longest, now - last), now
    return longest


async def test_while_an_adapter_is_read_answers_go_on_and_new_ones_begin(engine, adapters, tmp_path):
    await engine.load(adapters[0])
    cold = slow_copy(adapters[1], tmp_path, "c")
    begun = time.monotonic()
    loading = asyncio.create_task(engine.load(cold))
    gaps = await asyncio.gather(*(longest_gap(engine, adapter, loading) for adapter in (None, adapters[0])))
    assert time.monotonic() - begun > SECONDS
    # In the loop the reading would stop everybody for as long as it takes.
    assert max(gaps) < 0.75 * SECONDS
    assert await answer(engine, 6, cold) == await answer(engine, 6, adapters[1])


async def test_adapters_are_read_beside_each_other(engine, adapters, tmp_path):
    begun = time.monotonic()
    await asyncio.gather(*(engine.load(slow_copy(adapters[n], tmp_path, name)) for n, name in enumerate("de")))
    assert SECONDS < time.monotonic() - begun < 1.9 * SECONDS


async def test_an_answer_that_waits_for_room_holds_up_nobody(engine, adapters, tmp_path):
    assert len(adapters) == SETTINGS.max_adapters
    fourth = AdapterRef("f" * 64, shutil.copytree(adapters[0].path, tmp_path / "f"))
    async with AsyncExitStack() as stack:
        for adapter in adapters:
            await anext(await stack.enter_async_context(aclosing(engine.generate(ask(180, adapter)))))
        waiting = asyncio.create_task(answer(engine, 4, fourth))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            assert len(await answer(engine, 4, adapters[0])) == 4
        assert not waiting.done()
    assert len(await waiting) == 4


async def test_what_is_unloaded_is_gone_and_comes_again(engine, adapters):
    expected = await answer(engine, 6, adapters[2])
    assert adapters[2].digest in engine.resident()
    await engine.unload(adapters[2].digest)
    assert adapters[2].digest not in engine.resident()
    assert await answer(engine, 6, adapters[2]) == expected
    assert adapters[2].digest in engine.resident()


async def test_what_is_in_use_or_unknown_is_not_unloaded(engine, adapters):
    async with aclosing(engine.generate(ask(100, adapters[0]))) as deltas:
        await anext(deltas)
        await engine.unload(adapters[0].digest)
        await engine.unload("nobody's")
        assert adapters[0].digest in engine.resident()
        assert (await anext(deltas)).token_ids


async def test_never_more_are_held_than_may_be(engine, adapters, tmp_path):
    more = [AdapterRef(f"{n}" * 64, shutil.copytree(adapters[0].path, tmp_path / f"{n}")) for n in range(1, 7)]
    await asyncio.gather(*(answer(engine, 3, adapter) for adapter in (*more, *adapters)))
    assert len(engine.resident()) == SETTINGS.max_adapters


@pytest.mark.parametrize(
    "kind", (pytest.param("vllm", marks=pytest.mark.needs("vllm")),), indirect=True, scope="package"
)
async def test_loading_takes_nobodys_slot(engine, kind, adapters):
    """Which vLLM alone has."""
    await asyncio.gather(*(answer(engine, 3, adapter) for adapter in adapters[:2]))
    [before] = await engine._process.everywhere("adapters_in_slots")
    await engine.unload(adapters[2].digest)
    await engine.load(adapters[2])
    assert [before] == await engine._process.everywhere("adapters_in_slots")
