"""`openledger explain` against the service: what people type, and what they see."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from openledger.cli.connection import Connection
from openledger.cli.main import app
from openledger.client import Wallet
from tests.attribution_world import PAYER, STRANGER, revised
from tests.integration.attribution.test_explain import ANSWER, Someone, answered, revision  # noqa: F401 - a fixture


@pytest.fixture
def command(around, monkeypatch):
    """Runs `openledger explain` as somebody."""

    async def run(who, where, *words, status=0, verb=("explain",)):
        @asynccontextmanager
        async def as_them(self, *, signed_in=True):
            async with around.client(who, where) as mine:
                yield mine

        monkeypatch.setattr(Connection, "client", as_them)
        arguments, wide = [*verb, *words], {"COLUMNS": "250"}
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=wide)
        assert result.exit_code == status, result.output
        return result.stderr if status else result.stdout

    return run


async def test_an_answer_is_explained_in_words_and_as_json(command, around, revision):  # noqa: F811
    first = around.artifacts.adapter.contributors[0]
    async with answered(around, revision) as (where, _, receipt):
        told = await command(PAYER, where, "responses/r1")
        for words in ("The answer cost 0.0238 OPEN", "provisional", first, "said just as well", "1 record, 1 time ",
                      f"0-{len(ANSWER)}", "nobody is paid by them"):  # fmt: skip
            assert words in told
        assert "r1-2" not in told
        assert "r1-2" in await command(Someone(first), where, "receipts/r1")
        document = json.loads(await command(PAYER, where, "r1", "--json", "--wait", "5"))
    assert document["spans_state"] == "SPANS_STATE_READY"
    assert {share["key"]: int(share["amount"]) for share in document["shares"]} == receipt.shares


async def test_records_are_ranked_in_words_and_as_json(command, around):
    name, around.peers.private[name], around.peers.sketches[name] = around.artifacts.with_sketches()
    first = around.artifacts.adapter.contributors[0]
    async with answered(around, name) as (where, _, _):
        told = await command(PAYER, where, "responses/r1")
        for words in (
            "that the answer resembles most",
            "by adam-cosine",
            f"{first}, of 6",
            "told to their contributor alone",
        ):
            assert words in told
        assert "r1-2" not in told
        mine = await command(Someone(first), where, "responses/r1")
        [row] = [line.split() for line in mine.splitlines() if f"{first}, of 6" in line]
        assert (row[3], row[5], row[7]) == ("1", "±", "r1-2")
        assert "told to their contributor alone" not in mine
        document = json.loads(await command(Someone(first), where, "r1", "--json", "--scorer", "adam-dot"))
        assert "UNKNOWN_SCORER" in await command(PAYER, where, "r1", "--scorer", "best", status=1)
    assert (document["records_state"], document["record_scorer"]) == ("RECORDS_STATE_READY", "adam-dot")
    assert document["records"][0]["records"][0]["rank"] == 1


async def test_who_paid_fetches_receipt_and_trace_and_checks_them_offline(command, around, tmp_path):
    fetch, files = {"verb": ("receipt", "fetch")}, tmp_path / "mine"
    owner = Wallet.create()
    trace = around.artifacts.salted(2, adapter=revised(around.artifacts, owner=owner.address))
    async with answered(around, around.artifacts.adapter.revision) as (where, _, _):
        around.peers.add(trace)
        files.mkdir()
        (files / "r2.trace").write_bytes(b"longer than a trace" * 1000)
        (files / "r2.trace").chmod(0o644)
        told = await command(PAYER, where, "responses/r2", "--to", str(files), **fetch)
        assert "whoever has it can read it" in told
        document = json.loads(await command(PAYER, where, "r1", "--to", str(files), "--json", **fetch))
        assert document == {"receipt": f"{files}/r1.json", "trace": f"{files}/r1.trace", "why_no_trace": ""}
        told = await command(owner, where, "r2", "--to", str(tmp_path / "theirs"), status=2, **fetch)
        assert "RECEIPT_NOT_FOUND" in await command(STRANGER, where, "r2", "--wait", "0", status=1, **fetch)
        assert "Invalid value" in await command(PAYER, where, "r2", "--wait", "61", status=2, **fetch)
    assert (files / "r2.trace").read_bytes() == trace.dumps()
    assert {(files / f"{name}.trace").stat().st_mode & 0o777 for name in ("r1", "r2")} == {0o600}
    assert [file.name for file in (tmp_path / "theirs").iterdir()] == ["r2.json"]
    where = ("--artifacts", str(around.artifacts.folder), "--base", str(around.artifacts.adapter.base))
    for folder, status in ((files, 0), (tmp_path / "theirs", 3)):
        checked = await asyncio.to_thread(CliRunner().invoke, app, ["verify", "receipt", f"{folder}/r2.json", *where])
        assert checked.exit_code == status, checked.output


async def test_of_a_private_answer_who_is_paid_hears_why_and_none_of_its_words(command, around, revision):  # noqa: F811
    first = around.artifacts.adapter.contributors[0]
    async with answered(around, revision, published=False) as (where, _, _):
        told = await command(Someone(first), where, "responses/r1")
    assert "The answer cost 0.0238 OPEN" in told
    assert "Who paid can ask" in told
    for words in ("1 record", "r1-2", "None was found"):
        assert words not in told


async def test_what_cannot_be_told_is_said_and_ends_with_1(command, around):
    async with answered(around, around.artifacts.adapter.revision) as (where, _, _):
        assert "was made before there" in await command(PAYER, where, "r1")
        assert "RECEIPT_NOT_FOUND" in await command(STRANGER, where, "r1", "--wait", "0", status=1)
        assert "Invalid value" in await command(PAYER, where, "r1", "--wait", "61", status=2)
