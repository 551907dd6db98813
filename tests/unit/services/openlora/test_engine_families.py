"""The transformers engine on a base model of every family: greedy answers are PEFT's, also past a window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from services.openlora.engine import EngineDead, open_engine
from tests import tiny_model
from tests.engine_world import PROMPT, SETTINGS, answer, make_adapter


@pytest.mark.parametrize("variant", tiny_model.VARIANTS)
async def test_answers_are_those_of_peft(variant: str, tmp_path: Path) -> None:
    base = tiny_model.make_variant(tmp_path / "base", variant)
    adapter = make_adapter(base, tmp_path / "adapter", 1)
    engine = await open_engine("transformers", base, SETTINGS)
    try:
        plain, tuned = await answer(engine), await answer(engine, adapter=adapter)
    finally:
        await engine.close()
    assert plain != tuned
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    assert _short_of_the_best(model, plain) < 1e-3
    assert _short_of_the_best(PeftModel.from_pretrained(model, adapter.path), tuned) < 1e-3


async def test_a_base_model_that_is_not_supported_is_named(tmp_path: Path) -> None:
    base = tiny_model.make(tmp_path)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}))
    with pytest.raises(EngineDead, match="the rotary embedding 'dynamic'"):
        await open_engine("transformers", base, SETTINGS)


def _short_of_the_best(model: Any, tokens: tuple[int, ...]) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPT, *tokens]])).logits[0, len(PROMPT) - 1 : -1]
    return float((logits.max(1).values - logits[range(len(tokens)), list(tokens)]).max())
