"""Adapters: loaded once, refused when broken, and never anybody else's harm."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from openledger import imported
from services.openlora.engine import AdapterRef, AdapterRejected, RequestRejected
from tests.engine_world import CLOSE, answer, ask, deltas, make_adapter

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


def _spoil_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _spoil_weights(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


def _first_replaced(tensor: Any) -> Any:
    return lambda tensors: {
        key: tensor(value) if i == 0 else value for i, (key, value) in enumerate(sorted(tensors.items()))
    }


SPOILERS = {
    "no folder": shutil.rmtree,
    "no weights": lambda f: (f / "adapter_model.safetensors").unlink(),
    "cut short": lambda f: (f / "adapter_model.safetensors").write_bytes(
        (f / "adapter_model.safetensors").read_bytes()[:-10]
    ),
    "not json": lambda f: (f / "adapter_config.json").write_text("{"),
    "not lora": lambda f: _spoil_config(f, peft_type="IA3"),
    "nested without end": lambda f: (f / "adapter_config.json").write_text("[" * 100_000),
    "a configuration without end": lambda f: (f / "adapter_config.json").write_text("{}" + " " * 2**20),
    "a rank that is a truth": lambda f: _spoil_config(f, r=True),
    "rank too high": lambda f: _spoil_config(f, r=64),
    "dora without magnitudes": lambda f: _spoil_config(f, use_dora=True),
    "dora, perhaps": lambda f: _spoil_config(f, use_dora="perhaps"),
    "rslora, perhaps": lambda f: _spoil_config(f, use_rslora="perhaps"),
    "wrong rank": lambda f: _spoil_config(f, r=2),
    "wrong shape": lambda f: _spoil_weights(f, _first_replaced(lambda t: torch.zeros(4, 7))),
    "not a number": lambda f: _spoil_weights(f, _first_replaced(lambda t: t * float("nan"))),
    "overflowing": lambda f: _spoil_weights(f, _first_replaced(lambda t: t + 1e30)),
    "a pickle": lambda f: torch.save({"w": torch.zeros(1)}, f / "adapter_model.safetensors"),
    "float64": lambda f: _spoil_weights(f, _first_replaced(lambda t: t.double())),
    "whole numbers": lambda f: _spoil_weights(f, _first_replaced(lambda t: t.to(torch.int8))),
    "float8": lambda f: _spoil_weights(f, _first_replaced(lambda t: t.to(torch.float8_e4m3fn))),
    "unknown layer": lambda f: _spoil_weights(
        f, lambda w: {k.replace("layers.3", "layers.9"): v for k, v in w.items()}
    ),
    "a map of another module": lambda f: _spoil_weights(
        f, lambda w: {k.replace("mlp.up_proj", "self_attn.up_proj"): v for k, v in w.items()}
    ),
    "another way to write a layer": lambda f: _spoil_weights(
        f, lambda w: {k.replace("layers.3", "layers.03"): v for k, v in w.items()}
    ),
    "alpha beyond all numbers": lambda f: _spoil_config(f, lora_alpha=10**400),
    "half of a pair": lambda f: _spoil_weights(
        f, lambda w: {k: v for k, v in w.items() if "layers.3" not in k or "lora_A" in k}
    ),
    "no tensors": lambda f: _spoil_weights(f, lambda w: {}),
}


MAGNITUDE = "base_model.model.model.layers.3.mlp.up_proj.lora_magnitude_vector"
SPOILT_MAGNITUDES: dict[str, Any] = {
    "of another module": lambda w: {k.replace("mlp.up_proj", "self_attn.up_proj"): v for k, v in w.items()},
    "missing": lambda w: {k: v for k, v in w.items() if k != MAGNITUDE},
    "wrong shape": lambda w: w | {MAGNITUDE: w[MAGNITUDE][:-1]},
    "zero row": lambda w: w | {MAGNITUDE: w[MAGNITUDE].index_fill(0, torch.tensor([3]), 0.0)},
    "not a number": lambda w: w | {MAGNITUDE: w[MAGNITUDE] * float("nan")},
}


async def test_loading_again_is_nothing_new(engine, adapters):
    for _ in range(3):
        await engine.load(adapters[0])
    await asyncio.gather(*(engine.load(adapter) for adapter in adapters for _ in range(3)))


@pytest.mark.parametrize("spoiler", SPOILERS.values(), ids=SPOILERS)
async def test_a_broken_adapter_is_rejected_while_others_are_answered(engine, adapters, tmp_path, spoiler):
    folder = shutil.copytree(adapters[0].path, tmp_path / "broken")
    spoiler(folder)
    broken = AdapterRef("b" * 64, folder)
    expected = await answer(engine, 12, adapters[1])
    served = asyncio.create_task(answer(engine, 12, adapters[1]))
    with pytest.raises(AdapterRejected):
        await engine.load(broken)
    with pytest.raises(AdapterRejected):
        await deltas(engine, ask(4, broken))
    assert await served == expected


async def test_a_dora_adapter_is_served_as_peft_computes_it_or_refused_in_words(
    engine, kind, base, tmp_path, peft_margins, adapters
):
    dora = make_adapter(base, tmp_path / "dora", 5, size=0.3, dora=True)
    if kind == "vllm":
        with pytest.raises(AdapterRejected, match=r"DoRA.*vLLM does not serve.*transformers engine"):
            await engine.load(dora)
        return
    tokens = await answer(engine, 12, dora)
    assert max(peft_margins(tokens, dora)) < CLOSE
    _spoil_config(shutil.copytree(dora.path, tmp_path / "plain"), use_dora=False)
    with pytest.raises(AdapterRejected, match="without use_dora"):
        await engine.load(AdapterRef("d" * 64, tmp_path / "plain"))
    lora = await asyncio.gather(answer(engine, 12, adapters[0]), answer(engine, 12, dora))
    assert lora[1] == tokens


@pytest.mark.parametrize("spoiler", SPOILT_MAGNITUDES.values(), ids=SPOILT_MAGNITUDES)
async def test_a_bad_magnitude_is_refused_by_name(engine, kind, base, tmp_path, spoiler):
    broken = make_adapter(base, tmp_path / "dora", 6, dora=True)
    _spoil_weights(broken.path, spoiler)
    name = r"model\.layers\.\d\.\w+\.up_proj"
    with pytest.raises(AdapterRejected, match="vLLM does not serve" if kind == "vllm" else name):
        await engine.load(broken)


async def test_an_adapter_as_wild_as_the_checks_let_through_harms_only_itself(engine, base, adapters, tmp_path):
    wild = make_adapter(base, tmp_path / "wild", 66, size=2000.0)
    expected = await answer(engine, 12, adapters[1])
    results = await asyncio.gather(
        answer(engine, 12, wild),
        answer(engine, 12, adapters[1]),
        answer(engine, 12, wild, temperature=1.0, seed=1),
        return_exceptions=True,
    )
    assert results[1] == expected
    assert all(isinstance(result, tuple | RequestRejected) for result in results)


async def test_a_folder_may_vanish_once_it_is_loaded(engine, adapters, tmp_path):
    copy = AdapterRef("c" * 64, shutil.copytree(adapters[0].path, tmp_path / "copy"))
    await engine.load(copy)
    shutil.rmtree(copy.path)
    assert await answer(engine, 6, copy) == await answer(engine, 6, adapters[0])


async def test_in_the_form_in_which_it_is_brought_an_adapter_answers_as_peft_saved_it(engine, adapters, tmp_path):
    form = tmp_path / "form"
    form.mkdir()
    imported.gather(adapters[0].path, form)
    assert await answer(engine, 12, AdapterRef("f" * 64, form)) == await answer(engine, 12, adapters[0])
