"""How much memory a training takes, by counting what is held at its worst moment.

The base in float32, twice, since the evaluation loads it anew (trained in nf4: once, and once in four bits a weight);
the adapter with gradient and AdamW's moments; the same for every contributor and placebo that is followed at once (two
moments and a displacement; with patience twice, since the best step's are kept); a batch's rows of gradient and
curvature; the coupling of each adapted map's factors, which is as large as the map; the frozen layers' output for every
token; the activations of one chunk. With DoRA also each adapted map's output twice more (before its magnitude comes in,
plain and normalised), and the largest map twice, whose rows are measured. It counts, it does not measure: allocators
and libraries come on top, as FIXED.
"""

from __future__ import annotations

import os
from pathlib import Path

from openledger.base_model_shape import BaseModelShape
from services.factory.nf4 import BITS
from services.factory.passes import CHUNK_TOKENS
from services.factory.spec import FineTuneSpec

_FLOAT = 4
FIXED = 800 * 2**20
"""Python, torch, the tokenizer and their buffers: what is left of 3.05 GB that a worker took at most for SmolLM2-135M,
160 records and 16 contributors, once the rest is counted."""
_PER_SHADOW, _PER_PARAMETER = 3, 4
_ACTIVATIONS_PER_LAYER = 16
"""Vectors of the model's width that the backward pass needs of each token in each adapted layer."""


def machine_bytes(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """What this machine has, or as much of it as its container may take."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = limit.read_text().strip() if limit.is_file() else ""
    return min(machine, int(told)) if told.isdecimal() else machine


def adapter_parameters(shape: BaseModelShape, spec: FineTuneSpec) -> int:
    """Trained weights."""
    layers = min(spec.layers, shape.layers) or shape.layers
    maps = shape.maps()
    each = sum(spec.rank * sum(maps[name]) + (maps[name][1] if spec.dora else 0) for name in spec.target_modules)
    return layers * each


def training_bytes(shape: BaseModelShape, spec: FineTuneSpec, contributors: int, record_tokens: int) -> int:
    """At most, about.  record_tokens: of all records together, training and held out."""
    trained = adapter_parameters(shape, spec)
    layers = min(spec.layers, shape.layers) or shape.layers
    shadows = (min(contributors, spec.contributors_at_once) + spec.placebos) * (2 if spec.patience else 1)
    targets = spec.target_modules
    quantised = shape.parameters(head=False) * (1 - BITS / 32) if spec.quantise == "nf4" else 0
    floats = 2 * shape.parameters() - round(quantised) + _PER_PARAMETER * trained + _PER_SHADOW * shadows * trained
    floats += round(spec.batch_size * (1 + spec.curvature_samples * spec.curvature_share)) * trained
    floats += layers * sum(inputs * outputs for name, (inputs, outputs) in shape.maps().items() if name in targets)
    floats += record_tokens * shape.width
    chunk = max(CHUNK_TOKENS, spec.max_length)
    floats += chunk * (layers * (_ACTIVATIONS_PER_LAYER * shape.width + 3 * shape.inner) + 2 * shape.vocabulary)
    if spec.dora:
        adapted = [shape.maps()[name] for name in targets]
        floats += chunk * layers * 2 * sum(outputs for _, outputs in adapted)
        floats += 2 * max(inputs * outputs for inputs, outputs in adapted)
    return FIXED + floats * _FLOAT
