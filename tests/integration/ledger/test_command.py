"""`openledger balance|statement|deposit|claim|epoch` against the service: what people type, and what they get."""

from __future__ import annotations

import asyncio
import csv
import json
from contextlib import asynccontextmanager

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from openledger import canonical, split
from openledger.cli import statements
from openledger.cli.connection import Connection
from openledger.cli.main import app
from openledger.client import Wallet
from services.kit.testing import as_wallet
from tests.books_world import data_of
from tests.ledger_world import EARNERS, OPEN, OPERATOR, a_receipt, booked, info, lease, permit


@pytest.fixture
def command(monkeypatch):
    """Runs `openledger ...` as somebody."""

    async def run(who, where, *words, status=0, **others):
        @asynccontextmanager
        async def as_them(self, *, signed_in=True):
            async with as_wallet(who, ledger=where, **others) as mine:
                yield mine

        monkeypatch.setattr(Connection, "client", as_them)
        result = await asyncio.to_thread(CliRunner().invoke, app, list(words), env={"COLUMNS": "250"})
        assert result.exit_code == status, result.output
        return (result.stderr or result.stdout) if status else result.stdout

    return run


async def test_an_answer_is_followed_until_its_money_can_be_claimed(command, world, where, payer):
    await permit(world, where, payer, OPEN)  # gives the tokens
    await command(payer, where, "deposit", "1")
    held = await lease(where, payer, OPEN // 2)
    mine = a_receipt(payer, held.name, OPEN // 7)
    name = mine.response.removeprefix("responses/")

    async def trace(*words, status):
        return await command(payer, where, "trace", name, *words, status=status, attribution=world.attribution_address)

    assert "no further: " in await trace(status=2)
    world.attribution.give(mine)
    await booked(where, payer, [mine])
    said = await trace(status=2)
    assert f"receipt {canonical.sha256(mine.dumps())}" in said
    assert f"booked      0.142857142857142857 OPEN of {payer.account}" in said
    assert "no epoch has settled it yet" in said
    assert json.loads(await trace("--json", status=2))["epoch"] is None

    await command(OPERATOR, where, "epoch", "close", "--wait", "60")
    said = await trace(status=0)
    assert "in epochs/1: can be claimed" in said
    told = json.loads(await trace("--json", status=0))
    assert told["response"] == mine.response
    assert told["receipt"]["signature"] == mine.signature
    assert told["payout"]["epoch"] == told["epoch"]["name"] == "epochs/1"
    assert f"by transaction {told['epoch']['transaction']}" in said
    assert told["missing"] == ""


async def test_from_a_deposit_to_a_claim_by_commands_alone(command, world, where, payer, tmp_path, monkeypatch):
    await permit(world, where, payer, 5 * OPEN)  # gives the tokens
    assert " 2.5 OPEN  can be spent now" in await command(payer, where, "deposit", "2.5")
    found = json.loads(
        await command(payer, where, "deposit", "0.5", "--by", "transfer", "--rpc", "nowhere", "--no-spend", "--json")
    )
    assert (found["deposited"], found["authorised"]) == (str(3 * OPEN), str(5 * OPEN // 2))

    held = await lease(where, payer, OPEN)
    receipts = [a_receipt(payer, held.name, OPEN // 7) for _ in range(4)]
    world.attribution.give(*receipts)
    await booked(where, payer, receipts)
    assert " 0.571428571428571428 OPEN  spent in all" in await command(payer, where, "balance")

    assert "epochs/1  " in await command(OPERATOR, where, "epoch", "close", "--wait", "60")
    assert "epochs/1  active  4 receipts" in await command(payer, where, "epoch", "list")
    assert json.loads(await command(payer, where, "epoch", "show", "1", "--json"))["receipt_count"] == "4"
    earner = EARNERS[0]
    look = await command(OPERATOR, where, "claim", earner.account, "--look")
    assert "can be claimed by epochs/1" in look
    assert "\n  0x" in look
    assert f" OPEN sent to {earner.address} by 0x" in await command(OPERATOR, where, "claim", earner.address)
    at = await _info(where, payer)
    settled = split.settle([split.Answer(data_of(found), found.evidence) for found in receipts], split.Rule())
    share = settled[earner.address]
    assert world.token_balance(at, earner.address) == share
    assert "NOTHING_TO_CLAIM" in await command(earner, where, "claim", status=1)
    other = Wallet.create().address
    assert f" OPEN sent to {other} by 0x" in await command(EARNERS[1], where, "claim", "--to", other)
    assert world.token_balance(at, other) == settled[EARNERS[1].address] > 0
    assert f" OPEN sent to {other} by 0x" in await command(earner, where, "send", "all", "--to", other)
    assert world.token_balance(at, other) == settled[EARNERS[1].address] + share
    assert "holds no OPEN" in await command(earner, where, "send", "all", "--to", other, status=1)

    await the_payouts(command, where, payer, settled)
    monkeypatch.setattr(statements, "PAGE", 2)  # several pages
    await the_statement(command, where, payer, receipts, tmp_path)


async def the_payouts(command, where, payer, settled):
    """By epoch and by account, for anybody; and what gas costs, here without a price of ether."""
    whole = json.loads(await command(payer, where, "epoch", "payouts", "1", "--json"))
    given = {one["account"].removeprefix("accounts/"): int(one["amount"]) for one in whole["payouts"]}
    assert {who: given[who] for who in settled if who in given} == {w: a for w, a in settled.items() if w in given}
    assert {earner.address for earner in EARNERS[:2]} <= given.keys()
    page = await command(payer, where, "epoch", "payouts", "epochs/1", "--limit", "1")
    first = min(given)
    assert f"  {first}  " in page
    assert f"There are more: --after {first}" in page
    assert first not in await command(payer, where, "epoch", "payouts", "1", "--after", first)
    own = await command(EARNERS[0], where, "payouts")
    assert own.startswith("    epochs/1  ")
    assert own == await command(payer, where, "payouts", EARNERS[0].address)
    assert await command(payer, where, "payouts") == "Nothing.\n"
    assert "EPOCH_NOT_FOUND" in await command(payer, where, "epoch", "payouts", "7", status=1)
    price = await command(payer, where, "epoch", "price")
    assert "gas on chain 31337: " in price
    assert "54,360 gas" in price
    assert (await command(payer, where, "claim", "--estimate")).count(" ether") == 2


async def the_statement(command, where, payer, receipts, tmp_path):
    shown = await command(payer, where, "statement", "--limit", "4")
    assert shown.count("inference (payer)") == 4
    assert "There are more" in shown
    lines = [-receipt.fee for receipt in reversed(receipts)] + [OPEN // 2, 5 * OPEN // 2]

    written = tmp_path / "payer.csv"
    assert await command(payer, where, "statement", "--csv", str(written)) == f"6 lines in {written}\n"
    rows = list(csv.DictReader(written.open()))
    assert [int(row["amount"]) for row in rows] == lines
    assert {row["cause"] for row in rows} >= {receipt.response for receipt in receipts}
    assert rows[0]["create_time"].endswith("Z")
    assert await command(payer, where, "statement", "--csv", "-") == written.read_bytes().decode()

    table = tmp_path / "payer.parquet"
    assert json.loads(await command(payer, where, "statement", "--parquet", str(table), "--json"))["lines"] == 6
    found = parquet.read_table(table)
    assert tuple(found.column_names) == statements.COLUMNS
    assert [int(amount) for amount in found["amount"].to_pylist()] == lines
    assert found["kind"].to_pylist() == ["inference"] * 4 + ["deposit"] * 2
    assert sorted(path.name for path in tmp_path.glob("*payer*")) == ["payer.csv", "payer.parquet"]


async def _info(where, wallet):
    async with as_wallet(wallet, ledger=where) as client:
        return await info(client)


@pytest.mark.parametrize("amount", ("-1", "1e3", "1.0000000000000000001", "x", "0x1", "1" + "0" * 30, ""))
async def test_an_amount_that_is_none_is_refused_before_anything_is_asked(command, amount):
    assert "is not an amount of OPEN" in await command(None, "", "deposit", "--", amount, status=2)


async def test_what_cannot_be_done_is_said_and_ends_with_1(command, where, payer, tmp_path):
    assert "holds 0 atomic units of OPEN" in await command(payer, where, "deposit", "1", status=1)
    assert "NOT_AN_OPERATOR" in await command(payer, where, "epoch", "close", status=1)
    assert "EPOCH_NOT_FOUND" in await command(payer, where, "epoch", "show", "9", status=1)
    assert "NO_CLAIM" in await command(payer, where, "claim", "--look", status=1)
    assert "is not an address" in await command(payer, where, "claim", "bob", status=1)
    assert "is not an address" in await command(payer, where, "claim", "--to", "bob", status=1)
    assert "is not an address" in await command(payer, where, "send", "1", "--to", "bob", status=1)
    assert "MORE_THAN_CLAIMED" in await command(payer, where, "send", "1", "--to", "0x" + "1" * 40, status=1)
    assert "not an amount of OPEN" in await command(payer, where, "send", "1e3", "--to", "0x" + "1" * 40, status=2)
    assert "0 OPEN is no amount" in await command(payer, where, "send", "0", "--to", "0x" + "1" * 40, status=2)
    assert "0 OPEN is no amount" in await command(payer, where, "deposit", "0.0", status=2)
    assert "0 OPEN can be asked for" in await command(payer, where, "withdraw", "all", status=1)
    assert "without ACCOUNT" in await command(payer, where, "claim", payer.address, "--to", payer.address, status=2)
    assert "not an amount of OPEN" in await command(payer, where, "claim", "--max-fee", "1e3", status=2)
    assert "Nothing went in or out yet" in await command(payer, where, "statement")
    both = ("--csv", str(tmp_path / "a"), "--parquet", str(tmp_path / "b"))
    assert "two files" in await command(payer, where, "statement", *both, status=2)
    assert "No such file" in await command(payer, where, "statement", "--csv", str(tmp_path / "no" / "a"), status=1)


async def test_a_payer_gets_back_what_was_not_spent(command, world, where, payer):
    await permit(world, where, payer, 5 * OPEN)
    world.give_ether(payer)
    await command(payer, where, "deposit", "2.5")
    held = await lease(where, payer, OPEN)
    assert await command(payer, where, "withdraw") == "Nothing is asked for; 1.5 OPEN can be.\n"
    assert "1.5 OPEN can be asked for" in await command(payer, where, "withdraw", "2", status=1)
    assert "nothing was asked for" in await command(payer, where, "withdraw", "--finish", status=1)
    assert "1 OPEN are asked for by 0x" in await command(payer, where, "withdraw", "1")
    assert "0 OPEN is no amount" in await command(payer, where, "withdraw", "0", status=2)
    assert "1 OPEN are asked for, and" in await command(payer, where, "withdraw")
    assert "Nothing is asked for by 0x" in await command(payer, where, "withdraw", "--cancel")
    assert "1.5 OPEN are asked for by 0x" in await command(payer, where, "withdraw", "all")
    assert "1.5 OPEN are asked for, and can be taken now, with --finish" in await command(payer, where, "withdraw")

    # What answers cost meanwhile comes first.
    world.attribution.give(one := a_receipt(payer, held.name, OPEN))
    await booked(where, payer, [one])
    at = await _info(where, payer)
    before = world.token_balance(at, payer.address)
    done = json.loads(await command(payer, where, "withdraw", "--finish", "--json"))
    assert (done["taken"], done["asked"], done["ready"]) == (str(3 * OPEN // 2), "0", "0")
    assert world.token_balance(at, payer.address) - before == 3 * OPEN // 2
    assert "one at a time" in await command(payer, where, "withdraw", "1", "--finish", status=2)
    assert "not an amount of OPEN" in await command(payer, where, "withdraw", "1e3", status=2)
    async with asyncio.timeout(20):
        while " 0 OPEN  deposited, not spent" not in await command(payer, where, "balance"):
            await asyncio.sleep(0.05)
