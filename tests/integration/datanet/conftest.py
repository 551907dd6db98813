"""A Datanet that runs, beside a ledger of the tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.datanet_world import (
    OWNER,
    Ledger,
    World,
    open_datanet,
    serve_ledger,
    world,
)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def ledger_at(ledger: Ledger, tmp_path: Path) -> AsyncIterator[str]:
    async with serve_ledger(ledger, tmp_path) as where:
        yield where


@pytest.fixture
async def here(ledger: Ledger, ledger_at: str, tmp_path: Path) -> AsyncIterator[World]:
    """A datanet service with one datanet, `terms`."""
    async with world(tmp_path, ledger, ledger_at, max_record_bytes=2000) as running:
        async with running.as_(OWNER) as owner:
            await open_datanet(owner)
        yield running
