"""A tiny random Llama (or Qwen, Mistral, ...) with a tokenizer for any text, in a folder like a real base model's.

No network, fast.

Byte-level vocabulary and the ChatML template of the real model. The weights are random but large enough for LoRA to
learn something. It knows nothing of language: use it for plumbing, exactness and attribution tests, not for quality.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARY = 260
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


_ROTATIONS: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
        "rope_theta": 1e4,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "rope_theta": 1e4},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True, "head_dim": 24, "rope_parameters": _ROTATIONS["llama3"]},
    "mistral": {"sliding_window": None, "head_dim": 48, "rope_parameters": _ROTATIONS["linear"]},
    "mistral-windows": {"sliding_window": 7},
    "olmo2": {},
    "qwen2": {"tie_word_embeddings": True},
    "qwen2-windows": {
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 2,
        "rope_parameters": _ROTATIONS["yarn"],
    },
    "qwen3": {"head_dim": 24, "attention_bias": True},
    "qwen3-windows": {
        "head_dim": 48,
        "use_sliding_window": True,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "tie_word_embeddings": True,
    },
    "smollm3": {"layer_types": ["full_attention", "sliding_attention"] * 2, "sliding_window": 9},
}
"""Of each family of models what sets it apart, by a name that begins with its model_type."""


def make(folder: Path, *, layers: int = 4, width: int = 64, context: int = 512, seed: int = 0) -> Path:
    """Write a base model folder into ``folder``; returns it. Equal arguments, equal bytes."""
    model = _model("llama", layers, width, context, seed, tie_word_embeddings=True)
    return _write(folder, model, context)


def make_variant(folder: Path, variant: str) -> Path:
    """The same of another family: four layers, embeddings and head apart, no bias 0 and no norm's weight 1."""
    import torch

    model = _model(
        variant.split("-", maxsplit=1)[0], 4, 64, 512, 0, **{"tie_word_embeddings": False} | VARIANTS[variant]
    )
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        if weight.ndim == 1:
            weight.data += 0.2 * torch.randn(weight.shape, generator=generator)
    return _write(folder, model, 512)


def _model(family: str, layers: int, width: int, context: int, seed: int, **settings: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family,
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=1,
        max_position_embeddings=context,
        initializer_range=0.15,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        **settings,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config)


def _write(folder: Path, model: Any, context: int) -> Path:
    model.save_pretrained(folder)
    _tokenizer(context).save_pretrained(folder)
    return folder


def _tokenizer(context: int):  # type: ignore[no-untyped-def]
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
