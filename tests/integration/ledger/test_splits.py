"""A developer changes a registered split, over real gRPC: answers before and after are paid by what held on chain."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from typer.testing import CliRunner

from openledger import split
from openledger.abi import encode_call
from openledger.cli.main import app
from openledger.client import Client, Wallet
from openledger.ledger.v1 import ledger_pb2
from openledger.receipt import Model
from openledger.split import Rule
from openledger.trace_proto import time_text
from services.attribution.terms import LedgerTerms
from services.kit.testing import NOWHERE, as_service, as_wallet, endpoints
from services.ledger import consume
from services.ledger.chain import Call
from tests.ledger_world import (
    DEVELOPER,
    OPEN,
    OPERATOR,
    a_receipt,
    anchor,
    balance,
    booked,
    close_epoch,
    conservation,
    lease,
    pay_in,
    register,
    registration,
)

FEE = OPEN // 10
LAG = 60


@pytest.fixture
def world(world):
    world.more["split_lag_seconds"] = LAG
    return world


@pytest.fixture
async def revision(world, where):
    """A registered one, whose developer has ether."""
    snapshot = await anchor(where, f"datanets/d-{uuid.uuid4().hex[:8]}/snapshots/1")
    async with as_service("factory", ledger=where) as factory:
        found = await register(factory, registration(snapshot))
    world.give_ether(DEVELOPER)
    a_key(world, "developer.key", DEVELOPER)
    return found.revision


def a_key(world, name: str, wallet: Wallet) -> Path:
    place = world.folder / name
    place.touch(0o600)
    place.write_text(wallet.private_key)
    return place


async def typed(world, where, *words: str):
    """What `openledger model split` says."""
    arguments = ["model", "split", "--at", f"ledger={where}", *words, "--json"]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def changes(world, where, revision, *words: str, key: str = "developer.key"):
    result = await typed(
        world, where, words[0], revision, *words[1:], "--rpc", world.rpc_url, "--key", str(world.folder / key)
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def splits(where, revision) -> list[ledger_pb2.SplitVersion]:
    async with Client(endpoints(ledger=where)) as anybody:
        request = ledger_pb2.ListSplitsRequest(revision=revision)
        return list((await anybody.call(anybody.ledger.ListSplits, request)).splits)


async def known(where, revision, count: int) -> list[ledger_pb2.SplitVersion]:
    """All splits, once there are so many."""
    deadline = time.monotonic() + 20
    while len(found := await splits(where, revision)) < count:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    return found


async def change(world, where, revision, developer_bps: int, stakers_bps: int) -> ledger_pb2.SplitVersion:
    """Announced, waited for, made, and known to the ledger."""
    before = len(await splits(where, revision))
    parts = ("--developer-bps", str(developer_bps), "--stakers-bps", str(stakers_bps))
    told = await changes(world, where, revision, "propose", *parts)
    assert told["announced"]["developer_bps"] == developer_bps
    chain = world.chain()
    while chain.timestamp() < told["announced"]["active_at"]:
        await asyncio.sleep(0.1)
    made = await changes(world, where, revision, "activate")
    newest = (await known(where, revision, before + 1))[-1]
    assert (made["split"]["developer_bps"], made["announced"]) == (developer_bps, None)
    assert (newest.split.developer_bps, newest.transaction) == (developer_bps, made["transaction"])
    return newest


def text(seconds: int) -> str:
    return time_text(datetime.fromtimestamp(seconds, UTC))


async def answer(where, payer, held, revision, ended: int, rule: Rule | None = None):
    """A receipt as Attribution makes it: by the split that the ledger tells it, or else by that rule."""
    if rule is None:
        async with as_service("attribution", ledger=where) as client:
            rule = (await LedgerTerms(client, 30).of(revision, text(ended))).rule
    plain = a_receipt(payer, held.name, FEE)
    shares = split.split_fee(FEE, plain.platform_fee, plain.evidence, rule)
    model = Model("base", "b" * 64, revision, "d" * 64 if revision else "")
    return a_receipt(payer, held.name, FEE, rule=rule, shares=shares, model=model, end_time=text(ended))


def parts(receipt) -> tuple[int, int]:
    return receipt.rule.developer_bps, receipt.rule.stakers_bps


def due(receipt, bps: int) -> int:
    return (receipt.fee - receipt.platform_fee) * bps // 10_000


async def test_answers_are_paid_by_the_split_that_held_when_they_ended(world, where, payer, revision, monkeypatch):
    # The change is made now, and there are answers of long after it: the ledger reads their receipts later.
    monkeypatch.setattr(consume, "time", SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + 1000))
    await pay_in(world, where, payer, 10 * OPEN)
    held = await lease(where, payer, 5 * OPEN)
    (registered,) = await known(where, revision, 1)
    newest = await change(world, where, revision, 500, 4500)
    begun, changed = registered.start_time.ToSeconds(), newest.start_time.ToSeconds()
    earned = int((await balance(where, DEVELOPER)).earned)

    unregistered = "adapters/b/revisions/" + "d" * 64
    receipts = [
        await answer(where, payer, held, revision, begun - 1000),  # this ledger's own
        await answer(where, payer, held, revision, changed - 1),
        await answer(where, payer, held, revision, changed),
        await answer(where, payer, held, revision, changed + 900),
        await answer(where, payer, held, unregistered, changed + 900),
        await answer(where, payer, held, "", changed + 900),
    ]
    assert [parts(one) for one in receipts] == [(2000, 1000)] * 2 + [(500, 4500)] * 2 + [(2000, 1000)] * 2
    # By the split of before, within what a change may take to be known; and afterwards.
    late = await answer(where, payer, held, revision, changed + LAG - 1, Rule())
    too_late = await answer(where, payer, held, revision, changed + LAG, Rule())
    of_nobody = await answer(where, payer, held, revision, changed + 900, Rule(developer_bps=5000, stakers_bps=0))
    world.attribution.give(*receipts[:4], too_late, of_nobody, late, *receipts[4:])
    payouts = await booked(where, payer, [*receipts, late])
    for receipt, payout in zip([*receipts, late], payouts, strict=True):
        developer, stakers = parts(receipt)
        assert int(payout.shares["developer"]) == due(receipt, developer)
        assert int(payout.shares["stakers"]) == due(receipt, stakers)
        assert sum(map(int, payout.shares.values())) == FEE
    gained = int((await balance(where, DEVELOPER)).earned) - earned
    assert gained == sum(due(one, parts(one)[0]) for one in [*receipts, late])
    async with as_wallet(payer, ledger=where) as client:
        for refused in (too_late, of_nobody):
            request = ledger_pb2.GetPayoutRequest(response=refused.response)
            with pytest.raises(Exception, match="which did not hold for") as caught:
                await client.call(client.ledger.GetPayout, request)
            assert caught.value.metadata["why"] == "SPLIT_NOT_IN_FORCE"
    sums = await conservation(where)
    assert (sums.difference, sums.trial_balance) == ("0", "0")

    epoch = await close_epoch(where)
    sums = await conservation(where)
    assert (sums.difference, sums.trial_balance, sums.pooled) == ("0", "0", "0")
    arguments = ["verify", "epoch", epoch.bundle, "--artifacts", str(world.folder / "artifacts"), "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--rpc", world.rpc_url])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["outcome"] == "holds"
    words = {check["name"]: check["words"] for check in told["checks"]}
    assert "4 receipts are by splits that held" in words["splits"]
    assert "the splits by which the answers of 4 were paid" in words["chain"]
    away = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--rpc", f"http://{NOWHERE}"])
    assert away.exit_code == 3, away.output
    assert json.loads(away.stdout)["outcome"] == "could not be checked"


async def test_what_the_command_shows_is_what_the_chain_holds(world, where, revision):
    shown = await typed(world, where, "show", revision)
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert [one["split"]["developer_bps"] for one in told["splits"]] == [2000]
    assert told["registration"]["developer"] == DEVELOPER.account
    announced = await changes(world, where, revision, "propose", "--developer-bps", "0", "--stakers-bps", "0")
    assert announced["announced"]["developer_bps"] == 0
    assert "announced_split" in json.loads((await typed(world, where, "show", revision)).stdout)["registration"]
    assert (await changes(world, where, revision, "cancel"))["announced"] is None
    assert "announced_split" not in json.loads((await typed(world, where, "show", revision)).stdout)["registration"]
    await change(world, where, revision, 100, 200)
    told = json.loads((await typed(world, where, "show", revision)).stdout)
    first, second = told["splits"]
    assert (first["end_time"], second["split"]["stakers_bps"]) == (second["start_time"], 200)
    words = await asyncio.to_thread(
        CliRunner().invoke, app, ["model", "split", "--at", f"ledger={where}", "show", revision]
    )
    assert "developer 1 %, stakers 2 %, contributors 97 %" in words.stdout


async def test_a_developer_without_ether_hears_what_the_gas_may_cost(world, where, payer):
    poor = Wallet.create()
    snapshot = await anchor(where, f"datanets/d-{uuid.uuid4().hex[:8]}/snapshots/1")
    async with as_service("factory", ledger=where) as factory:
        revision = (await register(factory, registration(snapshot, developer=poor.account))).revision
    words = ("propose", revision, "--developer-bps", "1", "--stakers-bps", "1", "--rpc", world.rpc_url)
    result = await typed(world, where, *words, "--key", str(a_key(world, "poor.key", poor)))
    assert (result.exit_code, f"ether, and {poor.address} has 0" in result.stderr) == (1, True), result.output


async def test_nobody_but_the_developer_changes_it(world, where, revision):
    key = a_key(world, "other.key", OPERATOR)
    for words in (("propose", "--developer-bps", "1", "--stakers-bps", "1"), ("activate",), ("cancel",)):
        result = await typed(world, where, words[0], revision, *words[1:], "--rpc", world.rpc_url, "--key", str(key))
        assert (result.exit_code, "its developer alone" in result.stderr) == (1, True), result.output
    mine = ("--rpc", world.rpc_url, "--key", str(world.folder / "developer.key"))
    for words in ("activate", "cancel"):
        result = await typed(world, where, words, revision, *mine)
        assert (result.exit_code, "NothingProposed" in result.stderr) == (1, True), result.output
    for parts in (("5000", "1"), ("5001", "0"), ("-1", "0"), ("x", "0")):
        result = await typed(
            world, where, "propose", revision, "--developer-bps", parts[0], "--stakers-bps", parts[1], *mine
        )
        assert result.exit_code == 2, result.output
    nobodys = "adapters/letters/revisions/" + "0a" * 32
    result = await typed(world, where, "show", nobodys)
    assert (result.exit_code, "is not registered" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    (
        ("GetSplit", ledger_pb2.GetSplitRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        ("GetSplit", ledger_pb2.GetSplitRequest(revision="adapters/a"), grpc.StatusCode.INVALID_ARGUMENT),
        ("ListSplits", ledger_pb2.ListSplitsRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (
            "ListSplits",
            ledger_pb2.ListSplitsRequest(revision="adapters/a/revisions/b", page_token="x"),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            "ListSplits",
            ledger_pb2.ListSplitsRequest(revision="adapters/a/revisions/b", page_size=-1),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ),
)
async def test_what_names_no_revision_is_refused(where, method, request_, code):
    async with Client(endpoints(ledger=where)) as anybody:
        with pytest.raises(Exception, match=r".") as caught:
            await anybody.call(getattr(anybody.ledger, method), request_)
    assert caught.value.code is code


async def test_a_revision_that_nobody_registered_is_paid_by_the_ledgers_own_split(where):
    async with Client(endpoints(ledger=where)) as anybody:
        request = ledger_pb2.GetSplitRequest(revision="adapters/a/revisions/b")
        told = await anybody.call(anybody.ledger.GetSplit, request)
    assert (told.split.developer_bps, told.rule_sha256, told.transaction) == (2000, Rule().digest(), "")
    assert not told.HasField("start_time")


async def test_a_change_by_somebody_elses_tool_counts_the_same(world, where, revision):
    """Not the command: the contract alone decides."""
    chain, digest = world.chain(), bytes.fromhex(revision.rpartition("/")[2])
    world.send(DEVELOPER, Call(chain.contracts.models, encode_call("ModelRegistry", "proposeSplit", digest, (1, 2))))
    found = chain.revision(digest)
    while chain.timestamp() < found.change_at:
        await asyncio.sleep(0.1)
    mined = world.send(DEVELOPER, Call(chain.contracts.models, encode_call("ModelRegistry", "activateSplit", digest)))
    newest = (await known(where, revision, 2))[-1]
    assert (newest.split.developer_bps, newest.block, newest.transaction) == (1, mined.block_number, mined.tx_hash)
    assert newest.start_time.ToSeconds() == chain.block(mined.block_number).timestamp
