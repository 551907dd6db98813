"""Every engine on a tiny random model, opened once for all tests here; PEFT's own results are the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from services.openlora import engine_vllm_start
from services.openlora.engine import AdapterRef, Engine, open_engine
from services.openlora.engine_lora import LoraHooks
from tests import slow_adapters, tiny_model
from tests.engine_world import PROMPT, SETTINGS, answer, make_adapter


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="package")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    return [make_adapter(base, tmp_path_factory.mktemp(f"adapter-{seed}"), seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="package", params=["transformers", pytest.param("vllm", marks=[pytest.mark.needs("vllm")])])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def engine(kind: Any, base: Path) -> AsyncIterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        read = LoraHooks.read
        patch.setattr(LoraHooks, "read", lambda self, path: (slow_adapters.pause(path), read(self, path))[1])
        patch.setattr(engine_vllm_start, "STAGING", "tests.slow_adapters.SlowStaging")
        engine = await open_engine(kind, base, SETTINGS)
        yield engine
        await engine.close()


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def nobody_is_harmed(engine: Engine) -> AsyncIterator[None]:
    """Whatever a test does, the engine answers as before afterwards."""
    before = await answer(engine, 6)
    yield
    await engine.health()
    assert await answer(engine, 6) == before


@pytest.fixture(scope="package")
def peft_margins(base: Path) -> Any:
    """(tokens, margins): how far the tokens are, by PEFT's logits, from the likeliest ones at each place."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def margins(tokens: tuple[int, ...], adapter: AdapterRef | None) -> list[float]:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if adapter:
            model = PeftModel.from_pretrained(model, adapter.path)
        with torch.no_grad():
            logits = model(torch.tensor([[*PROMPT, *tokens]])).logits[0, len(PROMPT) - 1 : -1]
        return [float(row.max() - row[token]) for row, token in zip(logits, tokens, strict=True)]

    return margins
