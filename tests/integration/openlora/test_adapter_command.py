"""`openledger adapter` against the service: what people type, and what they see."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from openledger.base_models import sha256
from openledger.cli.connection import Connection
from openledger.cli.main import app
from openledger.imported import WEIGHTS
from openledger.manifest import imported_prefix
from tests.peft_folder import peft_folder

TERMS = ("--name", "poems", "--licence", "MIT", "--use", "commercial")


@pytest.fixture
def command(world, monkeypatch):
    """Runs a command as the payer."""

    @asynccontextmanager
    async def as_me(self, *, signed_in=True):
        async with world.client() as mine:
            mine.wallet = world.wallet
            yield mine

    monkeypatch.setattr(Connection, "client", as_me)

    async def run(*words, status=0):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["adapter", *map(str, words)])
        assert result.exit_code == status, result.output
        return result.stderr if status else result.stdout

    return run


async def test_a_peft_folder_is_brought_listed_asked_and_pinned(world, engine, command, tmp_path):
    folder = peft_folder(tmp_path / "peft", inference_mode=True, lora_dropout=0.1)
    (folder / "README.md").write_text("not sent")
    operators = {"operators": (world.wallet.address,)}
    async with world.life(engine, **operators) as client:
        adapter = json.loads(await command("import", folder, *TERMS, "--json"))
        name = adapter["name"]
        assert name.startswith(f"adapters/{imported_prefix(world.wallet.address)}poems/revisions/")
        assert json.loads(await command("import", folder, *TERMS, "--json"))["name"] == name
        assert (await world.ask(client, model=name)).summary
        told = await command("list")
        assert name in told
        assert "ready, imported" in told
        assert "ready, pinned, imported" in await command("pin", name)
        assert "pinned" not in await command("unpin", name)
        assert json.loads(await command("show", name, "--json"))["in_memory"]
        assert [a["name"] for a in json.loads(await command("list", "--json"))["adapters"]] == [name]


async def test_what_is_wrong_is_said_in_words_before_anything_is_sent(world, engine, command, tmp_path):
    folder = peft_folder(tmp_path / "peft")
    (folder / WEIGHTS).rename(tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    async with world.life(engine):
        assert "is a symbolic link" in await command("import", folder, *TERMS, status=1)
        (folder / WEIGHTS).unlink()
        (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
        assert "adapter_model.bin is a pickle" in await command("import", folder, *TERMS, status=1)
        whole = peft_folder(tmp_path / "whole")
        long = ("--name", "a" * 45, *TERMS[2:])
        assert "adapter must be 1-63" in await command("import", whole, *long, status=1)
        assert "WRONG_BASE" in await command("import", whole, *TERMS, "--base-sha256", "f" * 64, status=1)
        same = sha256(str(world.base))
        assert "evicted, imported" in await command("import", whole, *TERMS, "--base-sha256", same)
