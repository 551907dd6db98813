"""The specification of one fine-tune: all that decides the resulting bytes, apart from data, base and thread count.

One frozen value, exportable as JSON; running it again on the same snapshots gives the same adapter.  It knows nothing
of how training is done, nor whether this machine, this base or these records can do what it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from openledger.influence.adapter_config import ALL_LINEAR, MAX_RANK
from services.factory.shown import listed, shown

EVERY_TARGET = "all-linear"


class SpecError(ValueError):
    """A field of the specification is missing, unknown or out of bounds; the message names it."""


@dataclass(frozen=True)
class FineTuneSpec:
    """What to train, how strongly, on how much of the data, and what to learn about it on the way.

    Raises SpecError where a value is out of bounds.
    """

    base: str = "smollm2-135m-instruct"
    """A name in the registry of base models (`openledger.base_models`), or a folder."""
    rank: int = 8
    """Of LoRA's two factors, which have rank x (inputs + outputs) weights a map: more learns more, and costs more."""
    alpha: int = 16
    """The update of a map is its two factors' product times alpha / rank."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead, so that a larger rank does not shrink the update."""
    dora: bool = False
    """Train each row's length beside its direction (weight-decomposed LoRA)."""
    targets: str | tuple[str, ...] = EVERY_TARGET
    """The linear maps that carry LoRA: "all-linear", or names such as q_proj, kept sorted: the order in which they are
    written makes no other adapter."""
    layers: int = 6
    """How many of the last decoder layers carry LoRA; 0 = all.  Fewer is faster: what lies below is computed once."""
    epochs: int = 3
    """Times that each record is seen."""
    batch_size: int = 16
    """Records of one optimizer step."""
    learning_rate: float = 1e-3
    """Of AdamW, at its peak."""
    schedule: str = "cosine"
    """From the peak to the end: cosine or linear to zero, or constant."""
    warm_up: float = 0.1
    """Share of all steps over which the learning rate rises to its peak; at least one step where it is above 0."""
    weight_decay: float = 0.0
    """Of AdamW, decoupled: each step shrinks the weights by learning rate x this."""
    clip_norm: float = 0.0
    """Longest gradient of a step (Euclidean norm); a longer one is shortened to it.  0 = no limit."""
    precision: str = "float32"
    """Of the matrix products in training: float32, or bfloat16, which some machines do several times as fast
    (``passes.fastest_precision``).  Losses before and after are computed in float32 either way."""
    quantise: str = "none"
    """The frozen base while training: none, as it is, or nf4, four bits a weight (QLoRA).  The run's losses are then of
    that base; the evaluation, scores and answers are of the base as it is."""
    seed: int = 0
    """Of every random number: initial weights, order, split, sampled labels, placebos, canaries, halves."""
    max_length: int = 256
    """Tokens of prompt and completion together.  Longer records are left out, not cut."""
    prompt_template: str = "{prompt}"
    """What the model is asked; names fields of a record in braces."""
    completion_template: str = "{completion}"
    """What it should answer.  The loss is the completion's alone."""
    held_out: float = 0.1
    """Share of the records kept for evaluation, taken from every contributor alike."""
    evaluations: int = 10
    """How often the loss on held-out records is measured while training, evenly spaced; 0 = only before and after."""
    patience: int = 0
    """Stop after so many evaluations without a lower held-out loss, and keep the best weights; 0 = train to the end."""
    placebos: int = 2
    """Contributors of pure noise, which measure the contribution index's floor."""
    curvature_samples: int = 4
    """Sampled labels a record, from which the loss's curvature is estimated: more is less noise, at one backward pass
    each."""
    curvature_share: float = 1.0
    """Share of a batch's records that the curvature is estimated on: less is faster and noisier."""
    contributors_at_once: int = 256
    """Contributors whose part one training follows, which bounds its memory; where there are more, it is repeated for
    every further so many."""
    canaries: int = 0
    """Made-up secrets trained on among the records, to measure how much can be got out of the model again."""
    halves: int = 0
    """Trainings again with a random half of the contributors each, to check the contribution index against, and to fit
    vectors of contributions by; 0 = none, else at least 4.  Needs 4 contributors."""
    leave_one_out: bool = False
    """One training again for each contributor left out, and one with everybody, to check the contribution index
    against.  Needs 2 contributors."""

    def __post_init__(self) -> None:
        for field, (kind, rule, holds) in RULES.items():
            value = getattr(self, field)
            if type(value) is not kind or not holds(value):
                raise SpecError(f"{field} must be {rule}, got {shown(value)}")
        object.__setattr__(self, "targets", _targets(self.targets))
        for field in ("prompt_template", "completion_template"):
            if "{" not in getattr(self, field):
                raise SpecError(f"{field} must name at least one field of a record in braces, such as {{prompt}}")
        if self.patience and not (self.evaluations and self.held_out):
            raise SpecError("patience needs evaluations and held_out above 0: there is nothing to wait for otherwise")
        if self.dora and self.quantise != "none":
            raise SpecError("dora measures the base's own rows: it cannot go with quantise, leave one of them out")

    @property
    def target_modules(self) -> tuple[str, ...]:
        """The linear maps of a layer that carry LoRA, in one order."""
        return ALL_LINEAR if isinstance(self.targets, str) else self.targets

    @property
    def trained_again(self) -> bool:
        """Whether there are trainings again without some contributors."""
        return self.leave_one_out or self.halves > 0

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        if not isinstance(self.targets, str):
            document["targets"] = list(self.targets)
        return document

    @classmethod
    def from_json(cls, document: Any) -> FineTuneSpec:
        """Validate an untrusted JSON object; absent fields take their defaults.  Raises SpecError."""
        if not isinstance(document, dict):
            raise SpecError("a fine-tune specification is a JSON object")
        known = {field.name for field in fields(cls)}
        if unknown := [name for name in document if name not in known]:
            raise SpecError(f"unknown fields: {listed(unknown)}")
        return cls(**(document | {name: _float(document[name]) for name in FLOATS & document.keys()}))


FEWEST_HALVES = 4
"""Where there are any."""


def unsupported(spec: FineTuneSpec) -> str:
    """Why this specification cannot be trained here, or "" where it can."""
    if 0 < spec.halves < FEWEST_HALVES:
        return f"halves: {spec.halves} are too few to judge anything by; take {FEWEST_HALVES} or more"
    return ""


def _float(value: Any) -> Any:
    """A whole number is a number; one that no float can hold is out of all bounds."""
    try:
        return float(value) if type(value) is int else value
    except OverflowError:
        return math.inf


def _targets(value: Any) -> str | tuple[str, ...]:
    """In one order, or "all-linear"."""
    if value == EVERY_TARGET:
        return EVERY_TARGET
    names = tuple(value) if isinstance(value, list | tuple) else ()
    if not names or any(name not in ALL_LINEAR for name in names) or len(set(names)) < len(names):
        raise SpecError(f"targets must be {EVERY_TARGET}, or some of {', '.join(ALL_LINEAR)}, got {shown(value)}")
    return tuple(sorted(names))


Rule = tuple[type, str, Callable[[Any], bool]]


def _whole(low: int, high: int) -> Rule:
    return int, f"a whole number from {low} to {high}", lambda value: low <= value <= high


def _number(low: float, high: float) -> Rule:
    return float, f"a number from {low:g} to {high:g}", lambda value: low <= value <= high


def _one_of(*values: str) -> Rule:
    return str, f"{', '.join(values[:-1])} or {values[-1]}", lambda value: value in values


_SWITCH: Rule = (bool, "true or false", lambda _: True)
_TEMPLATE: Rule = (str, "a text of at most 8192 characters", lambda text: len(text) <= 8192)

# The one table of bounds; the API states those of numbers and lengths beside its fields, and a test compares the two.
RULES: dict[str, Rule] = {
    "base": (str, "a name, not empty", lambda name: 0 < len(name) <= 4096),
    "rank": _whole(1, MAX_RANK),
    "alpha": _whole(1, 4096),
    "rslora": _SWITCH,
    "dora": _SWITCH,
    "layers": _whole(0, 1000),
    "epochs": _whole(1, 100),
    "batch_size": _whole(1, 256),
    "learning_rate": _number(1e-7, 0.1),
    "schedule": _one_of("cosine", "linear", "constant"),
    "warm_up": _number(0, 1),
    "weight_decay": _number(0, 1),
    "clip_norm": _number(0, 1000),
    "precision": _one_of("float32", "bfloat16"),
    "quantise": _one_of("none", "nf4"),
    "seed": _whole(0, 2**32 - 1),
    "max_length": _whole(8, 8192),
    "prompt_template": _TEMPLATE,
    "completion_template": _TEMPLATE,
    "held_out": _number(0, 0.5),
    "evaluations": _whole(0, 1000),
    "patience": _whole(0, 1000),
    "placebos": _whole(1, 64),
    "curvature_samples": _whole(1, 16),
    "curvature_share": _number(1e-3, 1),
    "contributors_at_once": _whole(1, 10_000),
    "canaries": _whole(0, 64),
    "halves": _whole(0, 256),
    "leave_one_out": _SWITCH,
}
FLOATS = {field for field, (kind, _, _) in RULES.items() if kind is float}
