"""vLLM in bfloat16, as on GPUs: PEFT's answers, to the rounding of its numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_asyncio

from services.openlora.engine import open_engine
from tests.engine_world import SETTINGS, answer

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.needs("vllm"),
    pytest.mark.long,
]

ROUNDING = 0.3
"""Of logits, by the processor: 0.15 is seldom passed, 0.21 has been seen."""


@pytest.fixture(scope="package")
def kind() -> str:
    return "vllm"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(base):
    engine = await open_engine("vllm", base, replace(SETTINGS, dtype="bfloat16"))
    yield engine
    await engine.close()


async def test_answers_are_pefts_to_its_rounding_and_the_trace_can_say_so(engine, adapters, peft_margins):
    assert engine.description.endswith(" bfloat16")
    for adapter in (None, *adapters):
        assert max(peft_margins(await answer(engine, 12, adapter), adapter)) < ROUNDING
