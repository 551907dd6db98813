"""`openledger unlearn` against a Factory: what people type, and what they see."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from openledger.attribution.v1 import attribution_pb2
from openledger.cli import unlearn
from openledger.cli.connection import Connection
from openledger.cli.main import app
from tests.factory_world import address
from tests.integration.factory.conftest import OWNER
from tests.integration.factory.test_replacements import published

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def command(client, around, monkeypatch):
    """Runs `openledger` as the owner; gives its standard output."""

    @asynccontextmanager
    async def as_owner(self, *, signed_in=True):
        async with around.client(OWNER, client.endpoints.factory) as mine:
            yield mine

    monkeypatch.setattr(Connection, "client", as_owner)

    async def run(*words, status=0):
        result = await asyncio.to_thread(CliRunner().invoke, app, [*map(str, words)], env={"COLUMNS": "250"})
        assert result.exit_code == status, result.output
        return result.stderr if status else result.stdout

    return run


@pytest.mark.long
async def test_from_the_report_to_the_replacement(command, client, base, monkeypatch):
    old = await published(client, base, held_out=0.2)
    pages = [
        attribution_pb2.SumContributionResponse(
            answers=3, paid_answers=2, amount=str(10**18), contributors_amount=str(4 * 10**18), fees=str(9 * 10**18),
            score=0.5, positive_scores=2.0, through_offset=offset, high_watermark=8,
        )
        for offset in (5, 8)
    ]  # fmt: skip

    async def paid(_client, revision, account):
        assert (revision, account) == (old.name, f"accounts/{address(2)}")
        found = unlearn.Paid()
        for page in pages:
            found.add(page)
        return found

    alone = await command("unlearn", "report", address(2).upper().replace("X", "x"))
    assert old.name in alone
    assert "was trained on" in alone
    assert "where Attribution can be asked" in alone, "and it cannot here"
    monkeypatch.setattr(unlearn, "_paid", paid)
    told = await command("unlearn", "report", address(2))
    assert "Of 6 answers it was paid for 4: 2 OPEN, 25.0%" in told
    document = json.loads(
        await command("unlearn", "report", f"accounts/{address(2)}", "--revision", old.name, "--json")
    )
    [row] = document["revisions"]
    assert (row["revision"], row["paid"]["amount"], row["paid"]["score"]) == (old.name, str(2 * 10**18), 1.0)
    assert row["predicted_rise"] is not None
    assert "No published revision" in await command("unlearn", "report", address(77))

    lines = await command("unlearn", "replace", old.name, "--without", address(2), "--watch", "--json")
    assert json.loads(lines.splitlines()[-1])["state"] == "FINE_TUNE_STATE_SUCCEEDED"
    [made] = json.loads(await command("unlearn", "report", address(2), "--json"))["revisions"][0]["replacements"]
    assert made["state"] == "FINE_TUNE_STATE_SUCCEEDED"
    new = json.loads(await command("finetune", "publish", made["fine_tune"], "--json"))["name"]
    assert f"{old.name}, without accounts/{address(2)}" in await command("finetune", "revision", new)
    retired = await command("finetune", "deprecate", old.name, "--reason", "somebody left", "--replacement", new)
    assert new in retired
    assert f"replacement: {new}" in await command("unlearn", "report", address(2))
    refusal = await command("unlearn", "replace", old.name, "--without", address(77), status=1)
    assert "CANNOT_REPLACE" in refusal
