"""What engines refuse, and how answers are broken off."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from services.openlora.engine import EngineDead, FinishReason, RequestRejected, open_engine
from tests.engine_world import SETTINGS, answer, ask, deltas, ids

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("request_", "reason"),
    (
        (ask(prompt=()), "empty"),
        (ask(prompt=tuple([5] * SETTINGS.context)), "may have"),
        (ask(prompt=(5, 260)), "vocabulary"),
        (ask(0), "max_tokens"),
        (ask(top_p=0.0), "top_p"),
        (ask(temperature=float("nan")), "temperature"),
        (ask(stop=("",)), "stop"),
    ),
)
async def test_what_cannot_be_served_is_refused_with_the_reason(engine, request_, reason):
    with pytest.raises(RequestRejected, match=reason):
        await deltas(engine, request_)


async def test_an_id_in_use_is_refused(engine):
    request = ask(50)
    async with aclosing(engine.generate(request)) as stream:
        await anext(stream)
        with pytest.raises(RequestRejected, match=request.id):
            await deltas(engine, request)
        assert (await anext(stream)).token_ids


async def test_abort_ends_the_stream(engine):
    request = ask(150)
    parts = []
    async with aclosing(engine.generate(request)) as stream:
        async for delta in stream:
            parts.append(delta)
            if len(parts) == 2:
                await engine.abort(request.id)
    assert parts[-1].finish_reason is FinishReason.ABORTED
    assert len(ids(parts)) < 150


async def test_aborting_what_is_unknown_is_nothing(engine):
    await engine.abort("nobody")


async def test_who_stops_listening_frees_the_place(engine, adapters):
    for _ in range(2 * SETTINGS.max_running):
        async with aclosing(engine.generate(ask(150, adapters[0]))) as stream:
            await anext(stream)
    assert len(await answer(engine, 4)) == 4


async def test_a_closed_engine_says_so(kind, base):
    engine = await open_engine(kind, base, SETTINGS)
    long = asyncio.create_task(deltas(engine, ask(40)))
    await asyncio.sleep(0.05)
    await engine.close()
    await engine.close()
    ended = (await asyncio.gather(long, return_exceptions=True))[0]
    assert isinstance(ended, EngineDead) or ended[-1].finish_reason in (FinishReason.ABORTED, FinishReason.LENGTH)
    with pytest.raises(EngineDead):
        await engine.health()
    with pytest.raises(EngineDead):
        await deltas(engine, ask())
