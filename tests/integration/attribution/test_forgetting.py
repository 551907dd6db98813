"""`openledger forget-answers` at a real OpenLoRA and a real Attribution: unreadable at both, and paid all the same."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from openledger import receipt as receipts
from openledger.artifacts import ArtifactStore
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.cli.connection import Connection
from openledger.cli.main import app
from openledger.client import ApiError
from openledger.openlora.v1 import openlora_pb2
from openledger.verify import verify_receipt
from services.attribution.__main__ import assemble
from services.attribution.config import AttributionConfig
from services.kit.testing import served, settings
from services.openlora.engine import EngineSettings, open_engine
from tests import tiny_model
from tests.openlora_world import PRICES, World
from tests.toy_ledger import toy_ledger

SETTINGS = EngineSettings(context=512, max_running=8, max_active_adapters=4, max_adapters=4, max_rank=16)


@pytest.fixture
async def both(tmp_path):
    """The two services, and a payer's client of both."""
    base = await asyncio.to_thread(tiny_model.make, tmp_path / "base")
    async with toy_ledger(tmp_path) as (ledger, ledger_at):
        world = World(tmp_path, base, ledger, ledger_at)
        engine = await open_engine("transformers", base, SETTINGS)
        async with world.life(engine, **PRICES):
            near = {"openlora": world.at, "ledger": ledger_at, "base": str(base), "wait_seconds": 0.5}
            config = AttributionConfig(**settings("attribution", tmp_path, **near))
            async with (
                served(await assemble(config)) as at,
                ledger.issuer.client(world.wallet, openlora=world.at, attribution=at) as client,
            ):
                yield world, client


@pytest.fixture
def command(both, monkeypatch):
    @asynccontextmanager
    async def as_payer(self, *, signed_in=True):
        world, mine = both
        where = {"openlora": mine.endpoints.openlora, "attribution": mine.endpoints.attribution}
        async with world.ledger.issuer.client(world.wallet, **where) as client:
            yield client

    monkeypatch.setattr(Connection, "client", as_payer)

    async def run(*words, status=0, typed=""):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["forget-answers", *words], input=typed)
        assert result.exit_code == status, result.output
        return result.stdout

    return run


async def receipt_of(client, response) -> bytes:
    name = response.replace("responses/", "receipts/")
    return (await client.call(client.attribution.GetReceipt, pb.GetReceiptRequest(name=name, wait_seconds=20))).document


async def reasons(client, response) -> list[str]:
    """Why neither service tells what was asked and answered; empty for one that does."""
    name = response.replace("responses/", "receipts/")
    found = []
    for method, request in (
        (client.openlora.GetTrace, openlora_pb2.GetTraceRequest(name=response)),
        (client.attribution.GetReceiptTrace, pb.GetReceiptTraceRequest(name=name)),
    ):
        try:
            await client.call(method, request)
            found.append("")
        except ApiError as error:
            found.append(error.reason)
    return found


@pytest.mark.timeout(120)
async def test_one_command_makes_what_was_answered_unreadable_at_both(both, command, tmp_path):
    world, client = both
    first = await world.ask(client, "a secret", max_tokens=8)
    document = await receipt_of(client, first.response)
    assert await reasons(client, first.response) == ["", ""]
    await command(status=1, typed="n\n")
    assert await reasons(client, first.response) == ["", ""], "nobody said yes"
    assert "is unreadable" in await command(typed="y\n")
    assert await reasons(client, first.response) == ["ANSWER_FORGOTTEN", "TRACE_GONE"]

    second = await world.ask(client, "another", max_tokens=8)
    assert await receipt_of(client, second.response)
    assert await reasons(client, second.response) == ["", ""]
    told = json.loads(await command("--yes", "--json"))
    assert told["forgotten_before"].endswith("Z")
    assert await reasons(client, second.response) == ["ANSWER_FORGOTTEN", "TRACE_GONE"]

    assert await receipt_of(client, first.response) == document
    report = verify_receipt(document, ArtifactStore(tmp_path / "artifacts"), world.base)
    assert report.withheld
    assert receipts.parse(document).fee == int(first.summary.fee)


@pytest.mark.timeout(120)
async def test_what_is_forgotten_before_it_is_attributed_is_paid_and_not_kept(both, command):
    world, client = both
    answers = [await world.ask(client, f"secret {number}", max_tokens=8) for number in range(3)]
    await command("--yes")
    for answer in answers:
        assert receipts.parse(await receipt_of(client, answer.response)).fee == int(answer.summary.fee)
        assert await reasons(client, answer.response) == ["ANSWER_FORGOTTEN", "TRACE_GONE"]
