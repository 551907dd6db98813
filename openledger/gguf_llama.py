"""Turn a llama-architecture GGUF file into a plain Hugging Face folder with float32 weights, always the same bytes.

The weights are dequantised straight from the file: transformers' own GGUF loader gives the same values but a model
object that refuses to be saved, and its files change between versions. Tokenizer and chat template do come from
transformers. This module knows nothing of caches or registries; importing the package that ships the file is never
needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(gguf: Path, folder: Path, on_progress: Callable[[str, float], None]) -> None:
    """Write config.json, generation_config.json, model.safetensors and tokenizer files into an existing folder."""
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.numpy import save_file

    on_progress("reading weights", 0.0)
    reader = GGUFReader(gguf)
    config = _config(reader)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors: dict[str, Float32] = {}
    for tensor in reader.tensors:
        name, kind = _name(tensor.name)
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        tensors[name] = np.ascontiguousarray(_unpermute(values, heads[kind]) if kind in heads else values)
        on_progress("reading weights", len(tensors) / len(reader.tensors) * 0.7)
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    on_progress("writing weights", 0.7)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    _write_json(folder / "config.json", config)
    tokens = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(folder / "generation_config.json", tokens)
    on_progress("converting the tokenizer", 0.8)
    _tokenizer(gguf, folder, config["max_position_embeddings"])
    on_progress("converted", 1.0)


def _name(gguf_name: str) -> tuple[str, str]:
    """Hugging Face name of a GGUF tensor, and its kind."""
    parts = gguf_name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{INNER[parts[2]]}.weight", parts[2]
    return f"{OUTER[parts[0]]}.weight", parts[0]


def _unpermute(weight: Float32, heads: int) -> Float32:
    """Undo llama.cpp's row order of query and key maps (rotary pairs adjacent): first halves, then second halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _config(reader: Any) -> dict[str, Any]:
    def field(key: str, default: Any = None) -> Any:
        return reader.fields[key].contents() if key in reader.fields else default

    if field("general.architecture") != "llama":
        raise ValueError(f"the GGUF file holds a model of type {field('general.architecture')!r}, not llama")
    heads, width = field("llama.attention.head_count"), field("llama.embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "hidden_size": width,
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": field("llama.attention.head_count_kv", heads),
        "head_dim": field("llama.rope.dimension_count", width // heads),
        "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": field("llama.rope.freq_base", 10000.0),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "dtype": "float32",
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _tokenizer(gguf: Path, folder: Path, context: int) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)
