"""What a base model's config.json says of its shape, and whether it is one that is computed here exactly.

A decoder as Llama's: embeddings, equal layers of attention and a gated MLP with seven linear maps, a norm, a head; what
differs between the families within a layer (biases, norms of queries and keys, layers without rotation) is
transformers' code.  What differs around the layers stands here: which of them attend to a window only.  Refused by name
is what would make our forward pass, transformers' and vLLM's disagree.  Needs neither torch nor transformers; knows no
weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FULL, SLIDING = "full_attention", "sliding_attention"
ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Those whose frequencies do not depend on how long a text is."""
NEEDED = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
)
FAMILIES: dict[str, tuple[str, ...]] = {
    "llama": (),
    "mistral": ("num_key_value_heads", "sliding_window"),
    "olmo2": (),
    "qwen2": ("num_key_value_heads",),
    "qwen3": ("num_key_value_heads", "head_dim"),
    "smollm3": ("num_key_value_heads", "tie_word_embeddings", "layer_types"),
}
"""By model_type: the fields that must be written beside those, since what they mean left out is the family's own."""


class BaseModelError(ValueError):
    """The folder does not hold a base model that this code can run.  The message says why, and what would do."""


@dataclass(frozen=True)
class BaseModelShape:
    """A decoder's sizes."""

    family: str
    layers: int
    width: int
    inner: int
    heads_width: int
    """Of all query heads together."""
    values_width: int
    """Of all key (or value) heads together."""
    vocabulary: int
    context: int
    """Tokens, at most."""
    tied: bool
    """Whether embeddings and head share their weights."""
    windows: tuple[int | None, ...]
    """Of each layer: how many tokens one attends to, itself included; None: all before it."""

    @classmethod
    def read(cls, folder: Path) -> BaseModelShape:
        """Of a base model's folder.  Raises BaseModelError with the reason, which does not name the folder."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BaseModelError(f"config.json cannot be read: {error}") from error
        if not isinstance(config, dict):
            raise BaseModelError("config.json is not a JSON object")
        return cls.of(config)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BaseModelShape:
        """Of a config.json's content.  Raises BaseModelError with the reason."""
        family = _family(config)
        _check_kind(config)
        _check_rotation(config)
        layers, width, inner, heads, vocabulary, context = (_whole(config, field) for field in NEEDED)
        if config.get("head_dim") is None and width % heads:
            raise BaseModelError(f"hidden_size {width} is no multiple of num_attention_heads {heads}: name head_dim")
        head = width // heads if config.get("head_dim") is None else _whole(config, "head_dim")
        keys = heads if config.get("num_key_value_heads") is None else _whole(config, "num_key_value_heads")
        return cls(
            family=family,
            layers=layers,
            width=width,
            inner=inner,
            heads_width=heads * head,
            values_width=keys * head,
            vocabulary=vocabulary,
            context=context,
            tied=bool(config.get("tie_word_embeddings", False)),
            windows=_windows(family, config, layers),
        )

    def maps(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of a layer's linear maps."""
        return {
            "q_proj": (self.width, self.heads_width),
            "k_proj": (self.width, self.values_width),
            "v_proj": (self.width, self.values_width),
            "o_proj": (self.heads_width, self.width),
            "gate_proj": (self.width, self.inner),
            "up_proj": (self.width, self.inner),
            "down_proj": (self.inner, self.width),
        }

    def parameters(self, *, head: bool = True) -> int:
        """Of the base model, norms and biases left out; of its layers alone without embeddings and head."""
        layers = self.layers * sum(inputs * outputs for inputs, outputs in self.maps().values())
        if not head:
            return layers
        return layers + self.vocabulary * self.width * (1 if self.tied else 2)


def _family(config: Mapping[str, Any]) -> str:
    family = config.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BaseModelError(f"it is of type {family!r}; supported are {known}: take a model of one of these")
    if missing := [field for field in (*NEEDED, *FAMILIES[family]) if field not in config]:
        raise BaseModelError(
            f"config.json lacks {', '.join(missing)}: take it from the repository that the weights come from"
        )
    return str(family)


def _check_kind(config: Mapping[str, Any]) -> None:
    """That it is a causal language model with weights as they were trained."""
    architectures = config.get("architectures") or ()
    if architectures and not any(str(name).endswith("ForCausalLM") for name in architectures):
        raise BaseModelError(f"it is a {architectures[0]}: take the causal language model (...ForCausalLM)")
    if config.get("quantization_config"):
        raise BaseModelError("its weights are quantised: take the repository that holds them in full")
    if config.get("is_causal") is False or config.get("use_bidirectional_attention"):
        raise BaseModelError("its attention looks ahead, which a causal language model does not")


def _check_rotation(config: Mapping[str, Any]) -> None:
    for field in ("rope_parameters", "rope_scaling"):
        given = config.get(field) or {}
        if not isinstance(given, dict) or any(isinstance(value, dict) for value in given.values()):
            raise BaseModelError(f"{field} must describe one rotary embedding for every layer")
        kind = given.get("rope_type", given.get("type", "default"))
        if kind not in ROTATIONS:
            raise BaseModelError(
                f"{field} asks for the rotary embedding {kind!r}, which depends on how long a text is, and engines "
                f"differ in how; supported are {', '.join(ROTATIONS)}"
            )


def _windows(family: str, config: Mapping[str, Any], layers: int) -> tuple[int | None, ...]:
    """As transformers' configuration and model of the family have it."""
    window, types = config.get("sliding_window"), config.get("layer_types")
    if family in ("llama", "olmo2") or (family.startswith("qwen") and not config.get("use_sliding_window")):
        window = None
    if window is not None:
        window = _whole(config, "sliding_window")
    first = 0 if family == "mistral" else layers
    if family.startswith("qwen") and window is not None and types is None:
        first = _whole(config, "max_window_layers", least=0)
    expected = [SLIDING if window is not None and i >= first else FULL for i in range(layers)]
    if types is None and family != "smollm3":  # whose windows depend on which layers do not rotate
        types = expected
    if not isinstance(types, list) or len(types) != layers or not {*map(str, types)} <= {FULL, SLIDING}:
        raise BaseModelError(f"layer_types must name {FULL} or {SLIDING} for each of the {layers} layers")
    if family in ("llama", "olmo2", "mistral") and types != expected:
        raise BaseModelError(
            f"layer_types is not what a model of type {family} does: set it to {expected[0]} or drop it"
        )
    if window is None and SLIDING in types:
        raise BaseModelError(f"layer_types names {SLIDING}, but there is no sliding_window in use")
    return tuple(window if kind == SLIDING else None for kind in types)


def _whole(config: Mapping[str, Any], field: str, least: int = 1) -> int:
    value = config.get(field)
    if type(value) is not int or value < least:
        raise BaseModelError(f"{field} must be a whole number of at least {least}, got {value!r}")
    return value
