"""What the engine port's contract tests share: settings, random adapters, and ways to ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import torch

from services.openlora.engine import AdapterRef, Engine, EngineDelta, EngineRequest, EngineSettings, Sampling

# Two slots for three adapters, so that they take each other's place, and a base request never finds an empty slot.
SETTINGS = EngineSettings(
    context=200, max_running=8, max_active_adapters=2, max_adapters=3, max_rank=8, cache_bytes=16 * 2**20
)
CLOSE = 1e-3
"""How far logits may be from PEFT's: everybody computes in float32, in an order of their own."""
PROMPT = tuple(b"What is ataxia?"[i] + 3 for i in range(15))


def make_adapter(
    base: Path,
    folder: Path,
    seed: int,
    *,
    size: float = 0.5,
    layers: tuple[int, ...] = (2, 3),
    rslora: bool = False,
    dora: bool = False,
) -> AdapterRef:
    """A random adapter on some layers, saved by PEFT itself."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    wrapped = get_peft_model(
        model,
        LoraConfig(
            r=4,
            lora_alpha=8,
            target_modules=linear,
            layers_to_transform=list(layers),
            use_rslora=rslora,
            use_dora=dora,
        ),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=size)
            if "magnitude" in name:
                weight.data *= 1 + 0.2 * torch.randn(weight.shape)
    wrapped.save_pretrained(folder)
    return AdapterRef(f"{seed:064x}", folder)


NUMBERS: Iterator[int] = iter(range(10**6))


def ask(
    tokens: int = 12, adapter: AdapterRef | None = None, prompt: tuple[int, ...] = PROMPT, **sampling: Any
) -> EngineRequest:
    return EngineRequest(f"r{next(NUMBERS)}", prompt, Sampling(tokens, **sampling), adapter)


async def deltas(engine: Engine, request: EngineRequest) -> list[EngineDelta]:
    async with aclosing(engine.generate(request)) as stream:
        return [delta async for delta in stream]


async def answer(
    engine: Engine, tokens: int = 12, adapter: AdapterRef | None = None, **sampling: Any
) -> tuple[int, ...]:
    return ids(await deltas(engine, ask(tokens, adapter, **sampling)))


def ids(parts: list[EngineDelta]) -> tuple[int, ...]:
    return tuple(token for delta in parts for token in delta.token_ids)


def text(parts: list[EngineDelta]) -> str:
    return "".join(delta.text for delta in parts)
