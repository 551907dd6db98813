"""OpenLoRA with an engine that has no model, so that it can wait, die and refuse when told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine
from tests.openlora_world import World, no_model
from tests.toy_ledger import toy_ledger


@pytest.fixture
async def world(tmp_path: Path):
    async with toy_ledger(tmp_path) as (ledger, where):
        yield World(tmp_path, no_model(tmp_path / "base"), ledger, where)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()
