"""Whether an adapter folder can be served on a base model: read and checked here before any engine sees it.

An engine that meets a broken adapter in the middle of a batch harms everybody in it, so nothing reaches one unchecked.
What it does not know: whether the adapter is any good, or whose it is (digests are checked by whoever fetched it).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from openledger.base_model_shape import BaseModelShape
from openledger.canonical import parse_json
from services.openlora.engine import AdapterRejected

KEY = re.compile(
    r"base_model\.model\.(?P<module>model\.layers\.(?P<layer>0|[1-9][0-9]*)\."
    r"(?:self_attn\.(?=[qkvo]_)|mlp\.(?=gate_|up_|down_))(?P<linear>\w+))"
    r"\.lora_(?P<part>A\.weight|B\.weight|magnitude_vector)"
)
# What changes the arithmetic beyond W + scale B A and DoRA's magnitudes; each must have the value that leaves it alone.
PLAIN: dict[str, Any] = {
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "fan_in_fan_out": False,
    "lora_bias": False,
    "layer_replication": None,
    "trainable_token_indices": None,
    "target_parameters": None,
}
FACTORS, MAGNITUDE = ("A.weight", "B.weight"), "magnitude_vector"
"""A LoRA map's tensors as their names end, and what DoRA adds."""
MAX_ALPHA = 2**20
"""As openledger.influence.adapter_config has it: what cannot be scored is not served."""
MAX_FILE = 2 * 2**30
MAX_WEIGHT = 1e4
"""Weights beyond this overflow bfloat16 activations within a few layers; trained ones are below 10."""
DTYPES = ("F32", "F16", "BF16")
"""As safetensors calls them.  Engines would round, or read as something else, what has another."""
MAX_CONFIG = 2**20
MAX_HEADER = 8 * 2**20
"""Of a weights file, in bytes: fifty thousand tensors.  It is parsed whole before anything is known of it."""


def check_adapter(path: Path, shape: BaseModelShape, *, max_rank: int, dora: bool) -> None:
    """Read an adapter whole (milliseconds for a few megabytes) and refuse what an engine could stumble over.

    Args:
        dora: whether the engine computes DoRA (arXiv:2402.09353). vLLM does not (vllm/lora/peft_helper.py).

    Raises:
        AdapterRejected: says what is wrong with it.
    """
    rank, magnitudes = _check_config(path / "adapter_config.json", max_rank)
    if magnitudes and not dora:
        raise AdapterRejected(
            "it is a DoRA adapter (use_dora), which vLLM does not serve: the transformers engine does "
            "(OPENLEDGER_OPENLORA_ENGINE=transformers), or tune it again without dora"
        )
    weights = path / "adapter_model.safetensors"
    try:
        if weights.stat().st_size > MAX_FILE:
            raise AdapterRejected(f"{weights.name} is larger than {MAX_FILE} bytes")
        with weights.open("rb") as file:
            if int.from_bytes(file.read(8), "little") > MAX_HEADER:
                raise AdapterRejected(f"{weights.name} is not a whole safetensors file, or names too many tensors")
        _check_weights(weights, shape, rank, dora=magnitudes)
    except OSError as error:
        raise AdapterRejected(f"{weights.name} cannot be read: {error.strerror or error}") from error


def _check_config(path: Path, max_rank: int) -> tuple[int, bool]:
    """The adapter's rank, and whether it has magnitudes."""
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise AdapterRejected(f"{path.name} is larger than {MAX_CONFIG} bytes")
        config = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AdapterRejected(f"{path.name} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterRejected(f"{path.name} does not describe a LoRA adapter")
    for name, value in PLAIN.items():
        found = config.get(name, value)
        if (found or None) != (value or None):
            raise AdapterRejected(f"{path.name}: {name}={str(found)[:100]!r} is not served, only {value!r}")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= max_rank:
        raise AdapterRejected(f"rank {rank!r} is not between 1 and {max_rank}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < MAX_ALPHA:
        raise AdapterRejected(f"lora_alpha {str(alpha)[:40]} is not a number above 0 and below {MAX_ALPHA}")
    for name in ("use_rslora", "use_dora"):
        if not isinstance(config.get(name, False), bool):
            raise AdapterRejected(f"{name} {config[name]!r} is not true or false")
    return rank, config.get("use_dora", False)


def _check_weights(path: Path, shape: BaseModelShape, rank: int, *, dora: bool) -> None:
    import torch
    from safetensors import SafetensorError, safe_open

    parts: dict[str, set[str]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  # not a mapping
                module, part, expected = _expected(key, shape, rank)
                there = file.get_slice(key)  # nothing of it is read before what it is has been looked at
                if tuple(there.get_shape()) != expected:
                    raise AdapterRejected(f"{key} has shape {there.get_shape()}, the base model needs {expected}")
                if there.get_dtype() not in DTYPES:
                    raise AdapterRejected(f"{key} holds {there.get_dtype()} values, taken are {', '.join(DTYPES)}")
                tensor = file.get_tensor(key)
                # NaN compares false with everything.
                if not bool(torch.all(tensor.float().abs() <= MAX_WEIGHT)):
                    raise AdapterRejected(f"{key} holds a value that is not a number, or beyond {MAX_WEIGHT:g}")
                if part == MAGNITUDE and not bool(torch.all(tensor != 0)):
                    raise AdapterRejected(f"{key} holds a zero, which leaves a row of the map without direction")
                parts.setdefault(module, set()).add(part)
    except SafetensorError as error:
        raise AdapterRejected(f"{path.name} is not a whole safetensors file: {error}") from error
    if not parts:
        raise AdapterRejected(f"{path.name} holds no weights")
    whole = {*FACTORS, MAGNITUDE} if dora else {*FACTORS}
    for module, found in parts.items():
        for part in sorted(found ^ whole):
            what = "lacks its" if part in whole else "has, without use_dora, a"
            raise AdapterRejected(f"{module} {what} lora_{part}")


def _expected(key: str, shape: BaseModelShape, rank: int) -> tuple[str, str, tuple[int, ...]]:
    """Module, part and shape that a weight's name stands for."""
    match = KEY.fullmatch(key)
    if not match or match["linear"] not in shape.maps() or int(match["layer"]) >= shape.layers:
        raise AdapterRejected(f"{key} is not a LoRA weight of a linear map of the base model")
    inputs, outputs = shape.maps()[match["linear"]]
    part_shapes: dict[str, tuple[int, ...]] = {
        FACTORS[0]: (rank, inputs),
        FACTORS[1]: (outputs, rank),
        MAGNITUDE: (outputs,),
    }
    return match["module"], match["part"], part_shapes[match["part"]]
