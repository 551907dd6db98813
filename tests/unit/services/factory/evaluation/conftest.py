"""A tiny base model, adapters for it, and records by several contributors."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from openledger.influence.adapter_config import ALL_LINEAR, AdapterConfig
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from services.factory.data import Example, Record, tokenise
from tests.unit.services.factory.conftest import spec


@pytest.fixture(scope="session")
def decoder(base: Path) -> Decoder:
    return Decoder.load(base)


@pytest.fixture(scope="session")
def examples(tokenizer: Any) -> tuple[Example, ...]:
    """Eight records of each of four contributors; no two of them share a prompt or a run of letters."""
    rng, records = random.Random(0), []
    for number in range(32):
        text = " ".join("".join(rng.choices(string.ascii_lowercase, k=4)) for _ in range(4 + number % 3))
        fields = {"prompt": f"{rng.choice('abcde')}{number}", "completion": text}
        records.append(Record(f"records/{number:02}", f"0x{1 + number % 4:040x}", fields))
    return tokenise(records, spec(), tokenizer).examples


@pytest.fixture(scope="session")
def adapter(decoder: Decoder) -> Adapter:
    """An adapter that changes every prediction, at random."""
    result = fresh(decoder)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in result.tensors.items():
        if "lora_B" in name:
            tensor.normal_(std=0.05, generator=generator)
    return result


def fresh(decoder: Decoder, rank: int = 4, layers: int = 2) -> Adapter:
    """An adapter that changes nothing yet."""
    last = tuple(range(decoder.layers - layers, decoder.layers))
    config = AdapterConfig("tiny", rank, 2 * rank, ALL_LINEAR, last)
    return Adapter.initialise(config, decoder.model, torch.Generator().manual_seed(0))


def overfitted(decoder: Decoder, examples: Sequence[Example], steps: int, rate: float, **shape: int) -> Adapter:
    """An adapter that knows these examples by heart, by plain Adam over all of them."""
    adapter = fresh(decoder, **shape)
    first = min(adapter.config.layers)
    ids = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor([*e.prompt, *e.completion]) for e in examples], batch_first=True
    )
    rows = torch.cat([torch.full((len(e.completion),), row) for row, e in enumerate(examples)])
    columns = torch.cat([torch.arange(len(e.prompt), e.length) for e in examples])
    trunk = decoder.trunk(ids, first)
    with attached(decoder.model, adapter) as maps:
        weights = [linear.weight for linear in maps.values()]
        optimizer = torch.optim.Adam(weights, lr=rate)
        for _ in range(steps):
            optimizer.zero_grad()
            logits = decoder.head(decoder.upper(trunk, first)[rows, columns - 1])
            torch.nn.functional.cross_entropy(logits, ids[rows, columns]).backward()
            optimizer.step()
    return adapter
