"""What stops an epoch, and how it goes on: wrong books, more than a root may add; and charges that are taken back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from openledger import split
from openledger.cli.main import app
from openledger.client import ApiError, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.testing import as_wallet, served
from services.ledger import journal
from services.ledger.__main__ import assemble
from services.ledger.chain import Totals
from services.ledger.chain_rpc import RpcChain
from services.ledger.check import Found
from services.ledger.checks import Checks
from services.ledger.store import books, examine
from services.ledger.store.tables import BALANCE
from tests.books_world import data_of
from tests.integration.ledger.test_epochs import verified, wrong
from tests.integration.ledger.test_setbacks import total
from tests.ledger_world import (
    DEVELOPER,
    EARNERS,
    OPEN,
    OPERATOR,
    a_receipt,
    balance,
    booked,
    claim,
    close_epoch,
    conservation,
    lease,
    pay_in,
    refused,
)
from tests.ledger_world import eventually as chain_says


async def answers(world, where, payer, count: int = 1, amount: int = OPEN // 4):
    held = await lease(where, payer, count * amount)
    receipts = [a_receipt(payer, held.name, amount) for _ in range(count)]
    world.attribution.give(*receipts)
    await booked(where, payer, receipts)
    return receipts


def spoil(world, by: int) -> None:
    """Somebody with a database client gives the developer some units."""
    database = Database(f"sqlite:///{world.folder / 'ledger' / 'ledger.db'}")
    book = journal.payable(DEVELOPER.address)

    def act(c):
        books.lock(c)
        now = books.book(c, book).credits
        c.execute(update(BALANCE).where(BALANCE.c.book == book).values(credits=now + by))

    database.write_now(act)
    database.close()


async def epoch_1(operator) -> ledger_pb2.Epoch:
    return await operator.call(operator.ledger.GetEpoch, ledger_pb2.GetEpochRequest(name="epochs/1"))


async def eventually(so) -> None:
    async with asyncio.timeout(20):
        while not await so():
            await asyncio.sleep(0.05)


async def test_while_the_books_are_wrong_no_epoch_is_closed_and_no_root_proposed(world, payer, monkeypatch):
    """The leaves that were sealed from them are made again from the journals, once the books are mended."""
    world.more["check_seconds"] = 0.1
    monkeypatch.setattr(RpcChain, "funded", funded := Funded(RpcChain.funded))
    assembly = await assemble(world.config())
    async with served(assembly) as where, as_wallet(OPERATOR, ledger=where) as operator:
        await pay_in(world, where, payer, OPEN)
        receipts = await answers(world, where, payer)
        funded.little = True  # the root waits for money, so that there is time to look at it
        with monkeypatch.context() as unseen:
            unseen.setattr(Checks, "step", blind)  # seen too late
            spoil(world, 7)
            request = ledger_pb2.CloseEpochRequest(request_id=request_id())
            operation = await operator.call(operator.ledger.CloseEpoch, request)
            operation.metadata.Unpack(sealed := ledger_pb2.Epoch())
            await eventually(lambda: held_up(operator, "too little"))
        await eventually(lambda: held_up(operator, f"{journal.payable(DEVELOPER.address)} is wrong"))
        funded.little = False
        assert (total(assembly, "books_wrong"), total(assembly, "epochs_held_up")) == (1, 1)
        shown = await asyncio.to_thread(shown_by_command, where)
        assert "held up: the books are wrong" in shown
        request = ledger_pb2.CloseEpochRequest(request_id=request_id())
        assert (await refused(operator, operator.ledger.CloseEpoch, request)).reason == "BOOKS_WRONG"
        await asyncio.sleep(0.3)
        assert world.chain().last_epoch() == 0

        mend(world)
        epoch = await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
        assert int(epoch.total) == int(sealed.total) - 7
        assert (epoch.held_up, epoch.root != sealed.root, total(assembly, "epochs_held_up")) == ("", True, 0)
        status, found = await verified(world, epoch.bundle)
        assert (status, wrong(found)) == (0, set())
        assert (await claim(where, DEVELOPER)).amount == str(receipts[0].shares[split.DEVELOPER])


async def blind(checks: Checks) -> Found:
    return Found([], [])


class Funded:
    """What the distributor says that it has, or next to nothing."""

    def __init__(self, right):
        self.right, self.little = right, False

    def __get__(self, chain, _):
        return lambda: 0 if self.little else self.right(chain)


def mend(world) -> None:
    database = Database(f"sqlite:///{world.folder / 'ledger' / 'ledger.db'}")

    def act(c):
        books.lock(c)
        examine.rebuild(c)

    database.write_now(act)
    database.close()


async def held_up(operator, words: str) -> bool:
    return words in (await epoch_1(operator)).held_up


def shown_by_command(where: str) -> str:
    result = CliRunner().invoke(app, ["epoch", "--at", f"ledger={where}", "show", "1"], env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_while_the_chain_lacks_what_the_books_say_no_root_is_proposed(world, payer, monkeypatch):
    real, lacks = RpcChain.totals, [7]

    def totals(chain: RpcChain, block: int) -> Totals:
        found = real(chain, block)
        return replace(found, escrow=found.escrow - lacks[0])

    monkeypatch.setattr(RpcChain, "totals", totals)
    assembly = await assemble(world.config())
    async with served(assembly) as where, as_wallet(OPERATOR, ledger=where) as operator:
        await pay_in(world, where, payer, OPEN)
        await answers(world, where, payer)
        request = ledger_pb2.CloseEpochRequest(request_id=request_id())
        operation = await operator.call(operator.ledger.CloseEpoch, request)
        await eventually(lambda: held_up(operator, "the escrow holds 7 too little"))
        assert total(assembly, "chain_differs_open") == 7
        assert world.chain().last_epoch() == 0
        lacks[0] = 0
        epoch = await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
    assert (epoch.held_up, total(assembly, "chain_differs_open")) == ("", 0)


async def test_an_epoch_closes_by_itself_where_no_operator_closes_it(world, payer):
    world.more["close_epochs_seconds"] = 1
    async with world.run() as where, as_wallet(OPERATOR, ledger=where) as operator:
        await pay_in(world, where, payer, OPEN)
        [receipt] = await answers(world, where, payer)
        chain = world.chain()
        await chain_says(lambda: chain.active_epoch() == 1)
        assert (await epoch_1(operator)).receipt_count == 1
        assert chain.spent(payer.address) == receipt.fee


async def test_what_one_root_may_not_add_is_paid_by_the_next_epochs(world, payer):
    most = OPEN // 8
    world.more["max_epoch_increase"] = most
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        [receipt] = await answers(world, where, payer)
        first = await close_epoch(where)
        assert 0 <= most - int(first.total) < 10  # rounded down for each account
        assert int(first.waiting) > 0
        paid = int((await claim(where, EARNERS[-1])).amount)
        second = await close_epoch(where)
        assert (second.receipt_count, int(second.total)) == (0, int(first.total) + int(first.waiting))
        assert second.waiting == "0"
        with pytest.raises(ApiError, match="EMPTY_EPOCH"):
            await close_epoch(where)
        for epoch in (first, second):
            status, found = await verified(world, epoch.bundle)
            assert (status, wrong(found)) == (0, set()), found
        settled = split.settle([split.Answer(data_of(receipt), receipt.evidence)], split.Rule())
        paid += int((await claim(where, EARNERS[-1])).amount)
        assert paid == settled[EARNERS[-1].address]
        assert (await balance(where, DEVELOPER)).settled == str(receipt.shares[split.DEVELOPER])


async def test_an_operator_takes_a_charge_back_and_everybody_sees_it(world, payer, tmp_path):
    key = tmp_path / "operator.key"
    key.write_text(OPERATOR.private_key)
    key.chmod(0o600)
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        good, bad = await answers(world, where, payer, 2)

        def correct(*words: str, by=key):
            arguments = ["correct", *words, "--key", str(by), "--at", f"ledger={where}", "--json"]
            return CliRunner().invoke(app, arguments)

        told = await asyncio.to_thread(correct, bad.response, "--reason", "the answer was empty")
        assert told.exit_code == 0, told.output
        found = json.loads(told.stdout)
        assert (found["cause"], found["operator"]) == (bad.response, OPERATOR.account)
        [payout] = await booked(where, payer, [bad])
        assert payout.correction == found["name"]
        again = await asyncio.to_thread(correct, bad.response, "--reason", "the answer was empty")
        assert json.loads(again.stdout)["name"] == found["name"]
        (stranger := tmp_path / "stranger.key").write_text(Wallet.create().private_key)
        stranger.chmod(0o600)
        for words, by, reason in (
            ((bad.response, "--reason", "another"), key, "ALREADY_CORRECTED"),
            ((good.response, "--reason", "mine"), stranger, "NOT_AN_OPERATOR"),
            (("responses/none", "--reason", "mine"), key, "JOURNAL_NOT_FOUND"),
            (("good", "--reason", "mine"), key, "is not a name of the form responses/*"),
            ((good.response, "--reason", " "), key, "reason"),
        ):
            told = await asyncio.to_thread(lambda w=words, b=by: correct(*w, by=b))
            assert (told.exit_code, reason in told.stderr) == (1, True), told.output
        has = await balance(where, payer)
        assert (int(has.deposited), int(has.spent)) == (OPEN - good.fee, good.fee)
        async with as_wallet(payer, ledger=where) as client:
            page = await client.call(client.ledger.ListPostings, ledger_pb2.ListPostingsRequest(account=payer.account))
        assert (page.postings[0].kind, page.postings[0].cause) == ("correction", bad.response)
        epoch = await close_epoch(where)
        status, checks = await verified(world, epoch.bundle)
        assert (status, wrong(checks)) == (0, set())
        assert "1 answers were taken back" in checks["corrections"]["words"]
        told = await asyncio.to_thread(correct, good.response, "--reason", "too late")
        assert "ALREADY_SETTLED" in told.stderr
        sums = await conservation(where)
        assert (sums.fees, sums.difference, sums.trial_balance) == (str(good.fee), "0", "0")
