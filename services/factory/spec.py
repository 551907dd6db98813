"""The specification of one fine-tune: all that decides the resulting bytes, apart from data and thread count.

One frozen value, exportable as JSON; running it again on the same snapshot gives the same adapter. It knows nothing
of how training is done. There is deliberately no weight decay and no gradient clipping: the contribution index does
not account for them (see ``openledger.influence.shadow``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from openledger.influence.adapter_config import ALL_LINEAR, MAX_RANK


class SpecError(ValueError):
    """A field of the specification is missing, unknown or out of bounds; the message names it."""


@dataclass(frozen=True)
class FineTuneSpec:
    """What to train, how strongly, and on how much of the data. Raises SpecError where a value is out of bounds."""

    base: str = "smollm2-135m-instruct"
    """A name that ``openledger.base_models`` knows."""
    rank: int = 8
    alpha: int = 16
    layers: int = 6
    """How many of the last layers get LoRA."""
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 1e-3
    """At its peak: after a short warm-up, before the cosine decay."""
    precision: str = "float32"
    """Of the matrix products in training: float32, or bfloat16, which some CPUs do several times as fast
    (``passes.fastest_precision``). Losses before and after are computed in float32 either way."""
    seed: int = 0
    max_length: int = 256
    """Tokens of prompt and completion together. Longer records are left out."""
    prompt_template: str = "{prompt}"
    """Names fields of a record in braces."""
    completion_template: str = "{completion}"
    placebos: int = 2
    """Contributors of pure noise, which measure the method's floor."""
    held_out: float = 0.1
    """Share of the records kept for evaluation, taken from every contributor alike."""

    def __post_init__(self) -> None:
        for field, (kind, rule, holds) in RULES.items():
            value = getattr(self, field)
            if type(value) is not kind or not holds(value):
                raise SpecError(f"{field} must be {rule}, got {value!r}")
        for field in ("prompt_template", "completion_template"):
            if "{" not in getattr(self, field):
                raise SpecError(f"{field} must name at least one field of a record in braces, such as {{prompt}}")

    @property
    def target_modules(self) -> tuple[str, ...]:
        """All linear maps of a layer: adapting only attention learns less at the same cost."""
        return ALL_LINEAR

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> FineTuneSpec:
        """Validate an untrusted JSON object; absent fields take their defaults. Raises SpecError."""
        if not isinstance(document, dict):
            raise SpecError("a fine-tune specification is a JSON object")
        unknown = sorted(set(document) - {field.name for field in fields(cls)})
        if unknown:
            raise SpecError(f"unknown fields: {', '.join(map(str, unknown))}")
        floats = {name: float(document[name]) for name in FLOATS & document.keys() if type(document[name]) is int}
        return cls(**(document | floats))


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: low <= value <= high


FLOATS = {"learning_rate", "held_out"}
RULES: dict[str, tuple[type, str, Callable[[Any], bool]]] = {
    "base": (str, "a name, not empty", lambda name: 0 < len(name) <= 4096),
    "rank": (int, f"a whole number from 1 to {MAX_RANK}", _between(1, MAX_RANK)),
    "alpha": (int, "a whole number from 1 to 4096", _between(1, 4096)),
    "layers": (int, "a whole number from 1 to 1000", _between(1, 1000)),
    "epochs": (int, "a whole number from 1 to 100", _between(1, 100)),
    "batch_size": (int, "a whole number from 1 to 256", _between(1, 256)),
    "learning_rate": (float, "a number above 0, at most 0.1", lambda rate: 0 < rate <= 0.1),
    "precision": (str, "float32 or bfloat16", lambda name: name in {"float32", "bfloat16"}),
    "seed": (int, "a whole number from 0 to 2**53 - 1", _between(0, 2**53 - 1)),
    "max_length": (int, "a whole number from 8 to 8192", _between(8, 8192)),
    "prompt_template": (str, "a text of at most 8192 characters", lambda text: len(text) <= 8192),
    "completion_template": (str, "a text of at most 8192 characters", lambda text: len(text) <= 8192),
    "placebos": (int, "a whole number from 0 to 64", _between(0, 64)),
    "held_out": (float, "a number from 0 to 0.5", _between(0.0, 0.5)),
}
