from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from openledger.base_model_shape import BaseModelError, BaseModelShape

SIZES = {
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}
QWEN2 = SIZES | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "sliding_window": 4096}
MISTRAL = SIZES | {"model_type": "mistral", "sliding_window": 4096}
SMOLLM3 = SIZES | {"model_type": "smollm3", "tie_word_embeddings": True, "layer_types": ["full_attention"] * 4}


def test_sizes_of_a_model_whose_heads_are_not_its_width() -> None:
    shape = BaseModelShape.of(SIZES | {"model_type": "qwen3", "head_dim": 32, "tie_word_embeddings": True})
    assert (shape.heads_width, shape.values_width, shape.width, shape.inner) == (128, 64, 64, 128)
    assert (shape.layers, shape.context, shape.vocabulary, shape.tied) == (4, 2048, 1000, True)
    assert shape.maps()["o_proj"] == (128, 64)


def test_windows_are_where_the_family_has_them() -> None:
    assert BaseModelShape.of(MISTRAL).windows == (4096,) * 4
    assert BaseModelShape.of(MISTRAL | {"sliding_window": None}).windows == (None,) * 4
    assert BaseModelShape.of(QWEN2).windows == (None,) * 4, "sliding_window alone does not switch it on"
    switched = QWEN2 | {"use_sliding_window": True, "max_window_layers": 3}
    assert BaseModelShape.of(switched).windows == (None, None, None, 4096)
    types = ["sliding_attention", "full_attention"] * 2
    assert BaseModelShape.of(switched | {"layer_types": types}).windows == (4096, None) * 2


@pytest.mark.parametrize(
    ("config", "reason"),
    (
        (SIZES | {"model_type": "gemma2"}, "of type 'gemma2'; supported are llama, mistral"),
        (SIZES, "of type None"),
        ({"model_type": "llama"}, "lacks num_hidden_layers, hidden_size"),
        (SIZES | {"model_type": "mistral"}, "lacks sliding_window: take it from the repository"),
        (SIZES | {"model_type": "qwen3"}, "lacks head_dim"),
        (QWEN2 | {"hidden_size": "64"}, "hidden_size must be a whole number of at least 1, got '64'"),
        (QWEN2 | {"num_attention_heads": 3}, "name head_dim"),
        (QWEN2 | {"architectures": ["Qwen2ForRewardModel"]}, "it is a Qwen2ForRewardModel: take the causal"),
        (QWEN2 | {"quantization_config": {"quant_method": "gptq"}}, "quantised: take the repository"),
        (QWEN2 | {"is_causal": False}, "looks ahead"),
        (QWEN2 | {"use_bidirectional_attention": True}, "looks ahead"),
        (QWEN2 | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rotary embedding 'dynamic'"),
        (QWEN2 | {"rope_parameters": {"rope_type": "longrope"}}, "rotary embedding 'longrope'"),
        (QWEN2 | {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "one rotary embedding for every"),
        (QWEN2 | {"rope_scaling": "yarn"}, "one rotary embedding for every"),
        (QWEN2 | {"layer_types": ["full_attention"]}, "for each of the 4 layers"),
        (QWEN2 | {"layer_types": ["full_attention", "chunked_attention"] * 2}, "for each of the 4 layers"),
        (QWEN2 | {"layer_types": ["sliding_attention"] * 4}, "no sliding_window in use"),
        (QWEN2 | {"use_sliding_window": True}, "max_window_layers must be"),
        (QWEN2 | {"use_sliding_window": True, "sliding_window": 0}, "sliding_window must be"),
        (MISTRAL | {"sliding_window": 0}, "sliding_window must be"),
        (MISTRAL | {"layer_types": ["full_attention"] * 4}, "not what a model of type mistral does"),
        (SIZES | {"model_type": "llama", "layer_types": ["sliding_attention"] * 4}, "set it to full_attention"),
        (SMOLLM3 | {"layer_types": None}, "layer_types must name"),
    ),
)
def test_what_would_be_computed_otherwise_is_refused_by_name(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(BaseModelError, match=re.escape(reason)):
        BaseModelShape.of(config)


@pytest.mark.parametrize(
    ("content", "reason"),
    (
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "not a JSON object"),
        (json.dumps(SIZES), "of type None"),
    ),
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(BaseModelError, match=reason):
        BaseModelShape.read(tmp_path)
