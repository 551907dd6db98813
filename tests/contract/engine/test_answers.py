"""What engines answer: the model's own tokens, for everybody their own model, until it ends."""

from __future__ import annotations

import asyncio

import pytest

from services.openlora.engine import FinishReason
from tests.engine_world import CLOSE, PROMPT, SETTINGS, answer, ask, deltas, ids, make_adapter, text

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_greedy_tokens_are_pefts_for_base_and_adapter(engine, adapters, peft_margins):
    outputs = []
    for adapter in (None, adapters[0], adapters[1]):
        tokens = await answer(engine, 12, adapter)
        assert max(peft_margins(tokens, adapter)) < CLOSE
        outputs.append(tokens)
    assert len(set(outputs)) == 3
    assert engine.description == f"{engine.name} {engine.version} float32"


async def test_in_a_mixed_batch_everybody_gets_their_own_model(engine, adapters, peft_margins):
    askers = [None, adapters[0], adapters[1], None, adapters[0], None]
    alone = {adapter: await answer(engine, 12, adapter) for adapter in (None, adapters[0], adapters[1])}
    together = await asyncio.gather(*(answer(engine, 12, adapter) for adapter in askers))
    for adapter, tokens in zip(askers, together, strict=True):
        assert tokens == alone[adapter] or max(peft_margins(tokens, adapter)) < CLOSE


async def test_rank_stabilised_adapters_are_scaled_as_peft_scales_them(engine, base, tmp_path, peft_margins):
    adapter = make_adapter(base, tmp_path / "rslora", 4, size=0.3, rslora=True)
    tokens = await answer(engine, 12, adapter)
    assert max(peft_margins(tokens, adapter)) < CLOSE
    plain = make_adapter(base, tmp_path / "plain", 4, size=0.3)
    assert max(peft_margins(tokens, plain)) > 0.6, "the scale makes a difference that is told from rounding"


async def test_more_adapters_than_slots_take_turns(engine, adapters, peft_margins):
    askers = [*adapters, *adapters, None]
    for adapter, tokens in zip(askers, await asyncio.gather(*(answer(engine, 8, a) for a in askers)), strict=True):
        assert max(peft_margins(tokens, adapter)) < CLOSE


async def test_more_adapters_than_memory_push_each_other_out(engine, base, adapters, tmp_path, peft_margins):
    fourth = make_adapter(base, tmp_path / "fourth", 4)
    for adapter in (*adapters, fourth, adapters[0]):
        assert max(peft_margins(await answer(engine, 6, adapter), adapter)) < CLOSE


async def test_streams_a_token_at_a_time_and_says_why_it_ended(engine):
    parts = await deltas(engine, ask(10))
    assert len(parts) > 3
    assert [part.finish_reason for part in parts[:-1]] == [None] * (len(parts) - 1)
    assert parts[-1].finish_reason is FinishReason.LENGTH
    assert len(ids(parts)) == 10


async def test_text_is_the_decoded_tokens(engine):
    parts = await deltas(engine, ask(40, temperature=1.0, seed=5))
    assert text(parts) == engine.text(ids(parts))


async def test_an_answer_ends_with_the_models_end_token(engine):
    # At this temperature the tiny model's 260 tokens are about equally likely.
    ended = [
        parts
        for seed in range(40)
        if (parts := await deltas(engine, ask(100, temperature=2.0, seed=seed)))[-1].finish_reason is FinishReason.STOP
    ]
    assert ended
    assert all(ids(parts)[-1] == 2 and 2 not in ids(parts)[:-1] for parts in ended)
    assert all("<|im_end|>" not in text(parts) for parts in ended)


async def test_a_stop_text_ends_the_answer_and_is_not_shown(engine):
    whole = await deltas(engine, ask(30))
    shown = text(whole)
    stop = shown[6:9]
    parts = await deltas(engine, ask(30, stop=("never", stop)))
    assert parts[-1].finish_reason is FinishReason.STOP
    assert text(parts) == shown[: shown.find(stop)]
    assert ids(parts) == ids(whole)[: len(ids(parts))]
    assert len(ids(parts)) < 30
    assert engine.text(ids(parts), (stop,)) == text(parts)


async def test_a_seed_repeats_and_another_seed_does_not(engine, adapters):
    first = await answer(engine, 20, adapters[0], temperature=1.0, seed=7)
    assert await answer(engine, 20, adapters[0], temperature=1.0, seed=7) == first
    assert await answer(engine, 20, adapters[0], temperature=1.0, seed=8) != first


async def test_top_k_of_one_is_greedy(engine):
    assert await answer(engine, 10, temperature=1.5, top_k=1, seed=1) == await answer(engine, 10)


async def test_a_long_answer_ends_where_the_context_does(engine):
    room = SETTINGS.context - len(PROMPT)
    parts = await deltas(engine, ask(10_000))
    assert parts[-1].finish_reason is FinishReason.LENGTH
    assert len(ids(parts)) == room
