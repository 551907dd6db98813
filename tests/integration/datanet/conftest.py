"""A Datanet that runs, beside a ledger of the tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from openledger.cli.connection import Connection
from openledger.cli.main import app
from tests.datanet_world import (
    ADA,
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


@pytest.fixture
def command(here, monkeypatch):
    """Runs a command as an account."""
    who = OWNER

    @asynccontextmanager
    async def as_me(self, *, signed_in=True):
        async with here.as_(who) as mine:
            mine.wallet = who
            yield mine

    monkeypatch.setattr(Connection, "client", as_me)

    async def run(*words, status=0, by=OWNER):
        nonlocal who
        who = by
        result = await asyncio.to_thread(CliRunner().invoke, app, ["datanet", *map(str, words)])
        assert result.exit_code == status, result.output
        return result.output if status else result.stdout

    return run


@pytest.fixture
def verify():
    """Runs `openledger verify`, which talks to no service."""

    async def run(*words, status=0):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["verify", *map(str, words)])
        assert result.exit_code == status, result.output
        return result.output

    return run


@pytest.fixture
def contribute(here, monkeypatch):
    """Runs the command as Ada; gives exit status, stdout and stderr."""

    @asynccontextmanager
    async def as_ada(self, *, signed_in=True):
        async with here.as_(ADA) as mine:
            mine.wallet = ADA
            yield mine

    monkeypatch.setattr(Connection, "client", as_ada)

    async def run(*words, say=""):
        return await asyncio.to_thread(CliRunner().invoke, app, ["contribute", *map(str, words)], input=say)

    return run
