"""Parameters are obeyed as they are defined, by every engine alike: held to the base model's logits, computed here."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from services.openlora.engine import FinishReason, RequestRejected, Sampling
from tests.engine_world import CLOSE, PROMPT, answer, ask, deltas, ids, text

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest.fixture(scope="package")
def logits(base: Path) -> Callable[[tuple[int, ...]], torch.Tensor]:
    """The model's logits [tokens, vocabulary] at each place of an answer to PROMPT."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    def compute(tokens: tuple[int, ...]) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor([[*PROMPT, *tokens]])).logits[0, len(PROMPT) - 1 : -1]

    return compute


def penalised(row: torch.Tensor, sampling: Sampling, made: tuple[int, ...]) -> list[float]:
    counts, known = Counter(made), {*PROMPT, *made}
    values = row.tolist()
    for token in known:
        factor = sampling.repetition_penalty
        values[token] = values[token] / factor if values[token] > 0 else values[token] * factor
    for token, count in counts.items():
        values[token] -= sampling.frequency_penalty * count + sampling.presence_penalty
    return values


@pytest.mark.parametrize(
    "penalty",
    (
        {"repetition_penalty": 1.8},
        {"repetition_penalty": 0.7},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 1.5},
        {"frequency_penalty": -1.0, "presence_penalty": -0.5},
        {"repetition_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.5},
    ),
    ids=str,
)
async def test_penalties_change_the_likeliest_token_as_defined(engine, logits, penalty):
    tokens = await answer(engine, 24, **penalty)
    for place, row in enumerate(logits(tokens)):
        values = penalised(row, Sampling(24, **penalty), tokens[:place])
        assert max(values) - values[tokens[place]] < CLOSE


async def test_penalties_make_a_difference(engine):
    plain = await answer(engine, 24)
    assert len(set(plain)) < len(plain), "the model repeats itself, so that there is something to see"
    less = await answer(engine, 24, presence_penalty=2.0, frequency_penalty=2.0)
    assert len(set(less)) > len(set(plain))


async def test_min_p_leaves_the_tokens_that_are_likely_enough(engine, logits):
    assert await answer(engine, 10, temperature=1.5, min_p=1.0, seed=1) == await answer(engine, 10)
    tokens = await answer(engine, 40, temperature=1.5, min_p=0.5, seed=2)
    odds = (logits(tokens) / 1.5).softmax(-1)
    parts = [float(row[token] / row.max()) for row, token in zip(odds, tokens, strict=True)]
    assert min(parts) > 0.5 * math.exp(-CLOSE)
    assert max(parts[:-1]) == pytest.approx(1, abs=1e-6)
    assert tokens != await answer(engine, 40, temperature=1.5, seed=2)


async def test_logprobs_are_the_models_own_before_temperature_and_penalties(engine, logits):
    parts = await deltas(engine, ask(12, temperature=1.5, seed=3, repetition_penalty=1.5, logprobs=4))
    told = [each for part in parts for each in part.logprobs]
    assert tuple(each.token_id for each in told) == ids(parts)
    for row, each in zip(logits(ids(parts)).log_softmax(-1), told, strict=True):
        assert each.logprob == pytest.approx(float(row[each.token_id]), abs=CLOSE)
        assert len(each.top) == 4
        assert [value for _, value in each.top] == sorted((value for _, value in each.top), reverse=True)
        assert each.top[0][1] == pytest.approx(float(row.max()), abs=CLOSE)
        for token, value in each.top:
            assert value == pytest.approx(float(row[token]), abs=CLOSE)


async def test_logprobs_of_a_likeliest_token_are_at_the_top_of_its_list(engine):
    for each in [each for part in await deltas(engine, ask(8, logprobs=1)) for each in part.logprobs]:
        assert each.top == ((each.token_id, each.logprob),)


async def test_logprobs_without_any_beside_them_and_none_unasked(engine):
    told = [each for part in await deltas(engine, ask(5, logprobs=0)) for each in part.logprobs]
    assert [each.top for each in told] == [()] * 5
    assert all(part.logprobs == () for part in await deltas(engine, ask(5)))


async def test_a_stop_text_cuts_logprobs_where_it_cuts_tokens(engine):
    stop = text(await deltas(engine, ask(30)))[6:9]
    parts = await deltas(engine, ask(30, stop=(stop,), logprobs=2))
    assert len(ids(parts)) < 30
    assert all(len(part.logprobs) == len(part.token_ids) for part in parts)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    (
        ({"min_p": 1.5}, "min_p"),
        ({"min_p": math.nan}, "min_p"),
        ({"presence_penalty": 3.0}, "presence_penalty"),
        ({"frequency_penalty": math.nan}, "frequency_penalty"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"repetition_penalty": math.inf}, "repetition_penalty"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"temperature": math.inf}, "temperature"),
    ),
    ids=str,
)
async def test_parameters_out_of_range_are_refused_by_name(engine, wrong, reason):
    with pytest.raises(RequestRejected, match=reason):
        await deltas(engine, ask(4, **wrong))


SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["ataxia", "gait"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


async def test_an_answer_satisfies_its_schema_and_ends_with_it(engine, adapters):
    for adapter, how in ((None, {}), (adapters[0], {}), (None, {"temperature": 1.5, "seed": 3})):
        parts = await deltas(engine, ask(80, adapter, json_schema=json.dumps(SCHEMA), **how))
        said = json.loads(text(parts))
        assert set(said) == {"name", "age"}
        assert said["name"] in ("ataxia", "gait")
        assert 0 <= said["age"] <= 99
        assert parts[-1].finish_reason is FinishReason.STOP


async def test_beside_others_a_schema_narrows_its_own_answer_alone(engine, adapters):
    plain = await answer(engine, 12), await answer(engine, 12, adapters[1])
    schema = json.dumps({"enum": ["one", "two"]})
    *others, told = await asyncio.gather(
        deltas(engine, ask(12)),
        deltas(engine, ask(12, adapters[1])),
        deltas(engine, ask(12, json_schema=schema)),
    )
    assert tuple(ids(each) for each in others) == plain
    assert json.loads(text(told)) in ("one", "two")


@pytest.mark.parametrize(
    ("schema", "reason"),
    (
        ("{", "cannot be followed"),
        ("[1]", "not a JSON object"),
        ('{"type": "strange"}', "cannot be followed"),
        ('{"type": "string", "pattern": "(("}', "cannot be followed"),
        ('{"$ref": "#"}', "cannot be followed"),
        ('{"items": ' * 300 + "{}" + "}" * 300, "cannot be followed"),
        (json.dumps({"enum": ["x" * 20_000]}), "bytes"),
        (json.dumps({"type": "array", "items": {"type": "string"}, "minItems": 10**6, "maxItems": 10**6}), "too long"),
    ),
    ids=("cut", "list", "no type", "no pattern", "loop", "deep", "big", "slow"),
)
async def test_what_is_no_schema_is_refused_with_the_reason(engine, schema, reason):
    with pytest.raises(RequestRejected, match=reason):
        await deltas(engine, ask(4, json_schema=schema))


@pytest.mark.parametrize(
    "schema",
    (
        {"type": "string", "pattern": "^(((a{1,100}){1,100}){1,100}){1,100}$"},
        {"type": "object", "properties": {f"k{n}": {"type": "string"} for n in range(500)}},
    ),
    ids=("pattern", "wide"),
)
async def test_a_schema_that_costs_too_much_on_the_way_is_refused_and_never_half_answered(engine, schema):
    [parts] = await asyncio.gather(deltas(engine, ask(60, json_schema=json.dumps(schema))), return_exceptions=True)
    if isinstance(parts, RequestRejected):
        assert "too costly" in str(parts)
    else:
        assert parts[-1].finish_reason is FinishReason.LENGTH or json.loads(text(parts)) is not None
