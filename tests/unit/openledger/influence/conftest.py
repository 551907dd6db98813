"""A tiny base model, and a random adapter for it, shared by the tests of attribution."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from openledger.influence.adapter_config import ALL_LINEAR, AdapterConfig
from openledger.influence.decoder import Decoder
from openledger.influence.dora import MAGNITUDE
from openledger.influence.lora import Adapter
from tests import tiny_model

CONFIG = AdapterConfig("tiny", 4, 8, ALL_LINEAR, (2, 3))
DORA = replace(CONFIG, dora=True)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def decoder(base: Path) -> Decoder:
    return Decoder.load(base)


@pytest.fixture(scope="session")
def adapter(decoder: Decoder) -> Adapter:
    """Both factors random: a fresh adapter's B is zero, which would hide errors in A's gradient."""
    generator = torch.Generator().manual_seed(5)
    fresh = Adapter.initialise(CONFIG, decoder.model, generator)
    tensors = {name: torch.randn(tensor.shape, generator=generator) * 0.1 for name, tensor in fresh.tensors.items()}
    return Adapter(CONFIG, tensors)


@pytest.fixture(scope="session")
def adapter_folder(adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(adapter, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="session")
def dora(decoder: Decoder) -> Adapter:
    """Factors large enough to turn every row, and lengths some way from where they start."""
    generator = torch.Generator().manual_seed(6)
    fresh = Adapter.initialise(DORA, decoder.model, generator)
    tensors = {
        name: tensor * (1 + 0.2 * torch.randn(tensor.shape, generator=generator))
        if name.endswith(MAGNITUDE)
        else torch.randn(tensor.shape, generator=generator) * 0.2
        for name, tensor in fresh.tensors.items()
    }
    return Adapter(DORA, tensors)


@pytest.fixture(scope="session")
def dora_folder(dora: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(dora, tmp_path_factory.mktemp("dora"))


def write(adapter: Adapter, folder: Path) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps(adapter.config.to_json()))
    save_file(dict(adapter.tensors), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder
