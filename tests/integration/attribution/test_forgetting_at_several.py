"""`openledger forget-answers` where there are several OpenLoRAs: who was told is said, and who was not."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from typer.testing import CliRunner

from openledger.attribution.v1 import attribution_pb2
from openledger.cli.connection import Connection
from openledger.cli.main import app
from openledger.client import ApiError, Client
from openledger.openlora.v1 import openlora_pb2
from services.attribution.__main__ import assemble
from services.attribution.config import AttributionConfig
from services.kit.errors import precondition
from services.kit.testing import served, settings
from services.openlora.tracelog import TraceLog
from tests import tiny_model
from tests.fake_engine import FakeEngine
from tests.openlora_world import PRICES, World
from tests.toy_ledger import toy_ledger


@dataclass
class Everything:
    """OpenLoRAs a and b, one answer of each, and Attribution; one payer asks them all."""

    worlds: dict[str, World]
    answers: dict[str, str]
    attribution: str
    issuer: object
    wallet: object

    def client(self, **at: str) -> Client:
        return self.issuer.client(self.wallet, attribution=self.attribution, **at)

    async def readable(self) -> str:
        """Who of the two still tells what was asked."""
        found = ""
        for name, world in self.worlds.items():
            async with self.client(openlora=world.at) as client:
                try:
                    await client.call(client.openlora.GetTrace, openlora_pb2.GetTraceRequest(name=self.answers[name]))
                    found += name
                except ApiError as error:
                    if error.reason != "ANSWER_FORGOTTEN":
                        raise
        return found

    def at(self, *names: str) -> list[str]:
        return [word for name in names for word in ("--at", f"openlora={self.worlds[name].at}")]


@pytest.fixture
async def everything(tmp_path):
    base = await asyncio.to_thread(tiny_model.make, tmp_path / "base")
    async with toy_ledger(tmp_path) as (ledger, ledger_at), AsyncExitStack() as stack:
        first, answers = World(tmp_path, base, ledger, ledger_at), {}
        worlds = {name: replace(first, folder=tmp_path / name) for name in "ab"}
        for name, world in worlds.items():
            client = await stack.enter_async_context(world.life(FakeEngine(), replica=name, **PRICES))
            answers[name] = (await world.ask(client, "a secret")).response
        near = {"openlora": f"{worlds['a'].at},{worlds['b'].at}", "ledger": ledger_at, "base": str(base)}
        config = AttributionConfig(**settings("attribution", tmp_path, **near))
        attribution = await stack.enter_async_context(served(await assemble(config)))
        yield Everything(worlds, answers, attribution, ledger.issuer, first.wallet)


@pytest.fixture
def command(everything, monkeypatch):
    """Runs `openledger forget-answers --yes`; gives what it says on stdout, or on stderr where it fails."""

    @asynccontextmanager
    async def as_payer(self, *, signed_in=True):
        async with everything.client(**dict(word.split("=") for word in self.at)) as client:
            yield client

    monkeypatch.setattr(Connection, "client", as_payer)

    async def run(*words, status=0):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["forget-answers", "--yes", *words])
        assert result.exit_code == status, result.output
        return result.stderr if status else result.stdout

    return run


async def test_all_that_were_told_are_named(everything, command):
    told = " ".join((await command(*everything.at("a", "b"))).split())
    a, b = (everything.worlds[name].at for name in "ab")
    assert f"OpenLoRA a at {a}, OpenLoRA b at {b}." in told
    assert await everything.readable() == ""
    document = json.loads(await command(*everything.at("b"), "--json"))
    assert document["openlora"] == [{"at": b, "replica": "b"}]


async def test_one_that_was_not_named_was_not_told_and_it_is_said(everything, command):
    told = " ".join((await command(*everything.at("b"))).split())
    assert f"at OpenLoRA b at {everything.worlds['b'].at}. Any other OpenLoRA was not told." in told
    assert await everything.readable() == "a"


@pytest.mark.parametrize("spelled", ("the same", "another"))
async def test_two_addresses_of_one_are_refused_before_anybody_is_told(everything, command, spelled):
    """As of a name in front of several: whoever thinks that both were told has told one."""
    again = everything.at("a") if spelled == "the same" else [
        "--at", f"openlora={everything.worlds['a'].at.replace('127.0.0.1', 'localhost')}"
    ]  # fmt: skip
    why = await command(*everything.at("a"), *again, status=1)
    assert "lead to one OpenLoRA: name each once. Nobody was told" in why
    assert await everything.readable() == "ab"


async def test_nobody_is_told_where_one_cannot_be_reached(everything, command):
    why = await command(*everything.at("a", "b"), "--at", "openlora=127.0.0.1:1", status=1)
    assert "UNREACHABLE" in why
    assert await everything.readable() == "ab"


@pytest.mark.parametrize("fails", ("b", "Attribution"))
async def test_where_it_fails_halfway_it_says_who_was_told_and_can_be_said_again(
    everything, command, monkeypatch, fails
):
    a, b = (f"OpenLoRA {name} at {everything.worlds[name].at}" for name in "ab")
    with monkeypatch.context() as broken:
        if fails == "b":
            forget = TraceLog.forget

            async def only_a(self, payer):
                if self.replica == "b":
                    raise precondition("OUT_OF_ORDER", "not now")
                return await forget(self, payer)

            broken.setattr(TraceLog, "forget", only_a)
        else:

            async def never(self, payer, before):
                raise precondition("OUT_OF_ORDER", "not now")

            broken.setattr("services.attribution.traces.Traces.forget", never)
        why = " ".join((await command(*everything.at("a", "b"), status=1)).split())
    if fails == "b":
        assert f"Told was {a}; not told: {b}, Attribution." in why
        assert await everything.readable() == "b"
    else:
        assert f"Told was {a}, {b}; not told: Attribution." in why
        assert await everything.readable() == ""
    assert "OUT_OF_ORDER" in why
    assert await command(*everything.at("a", "b"))
    assert await everything.readable() == ""
    async with everything.client(openlora=everything.worlds["a"].at) as client:
        wanted = attribution_pb2.GetReceiptTraceRequest(name=everything.answers["a"].replace("responses/", "receipts/"))
        with pytest.raises(ApiError, match=r"TRACE_GONE|RECEIPT_NOT_FOUND"):
            await client.call(client.attribution.GetReceiptTrace, wanted)
