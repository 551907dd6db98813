"""What becomes of redemptions that the chain refuses."""

from __future__ import annotations

import time

import pytest
from eth_account import Account

from openledger import spending
from openledger.abi import decode_call
from openledger.claims import address_bytes
from openledger.client import Wallet
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import redeem
from services.ledger.chain import CallReverted
from services.ledger.chain_writer import ChainWriter
from services.ledger.pen import Pen
from services.ledger.redeem import Redeemer
from services.ledger.signing import Patience
from services.ledger.store import epochs, payers
from services.ledger.store.chain import State
from services.ledger.store.epochs import Epoch
from services.ledger.store.payers import Unredeemed
from services.ledger.store.tables import METADATA, TRANSACTION
from tests.fake_chain import FakeChain

ACCOUNT = Account.from_key(b"\x01" * 32)
A = "0x" + "a" * 40
ROOM = 3600


class Escrow(FakeChain):
    """A chain on which a payer has deposited something."""

    deposited = 100

    def balance(self, payer):
        return self.deposited

    def spent(self, payer):
        return 0


class Moments:
    """A redeemer, moved on by one; payer A has spent 10, and its authorisation ends within the hour."""

    def __init__(self, database):
        self.database, self.chain = database, Escrow()
        pen = Pen(database, ACCOUNT.address.lower(), "one", Metrics("pen"), seconds=60)
        assert pen.take()
        how = {"confirmations": 0, "poll_seconds": 0.01, "patience": Patience(1000, 60)}
        self.writer = ChainWriter(database, self.chain, ACCOUNT, pen, Metrics("ledger"), **how)
        how = {"room": ROOM, "credit": 9, "poll_seconds": 0.001}
        self.redeemer = Redeemer(database, self.chain, self.writer, pen, Metrics("redeem"), **how)
        database.write_now(lambda c: (payers.lock(c, A), payers.set_spent(c, A, 10)))
        self.sign(b"first")

    def sign(self, signature, seconds=600):
        deadline = int(time.time()) + seconds
        self.database.write_now(lambda c: payers.authorise(c, A, 50, deadline, signature))

    async def step(self, times=3):
        for _ in range(times):
            await self.redeemer.leaving()
            await self.writer.step()

    @property
    def transactions(self):
        rows = self.database.read_now(lambda c: c.execute(TRANSACTION.select()).all())
        return [(State(row.state), row.key) for row in rows if row.key.startswith(f"redeem:alone/{A}/10/")]

    @property
    def states(self):
        return [state for state, _ in self.transactions]


@pytest.fixture
def moments(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    yield Moments(database)
    database.close()


async def test_a_redemption_that_was_refused_is_tried_again_after_a_while(moments, monkeypatch):
    moments.chain.reverting = True
    await moments.step()
    assert moments.states == [State.FAILED]
    moments.chain.reverting = False
    await moments.step()
    assert moments.states == [State.FAILED]  # it rests
    monkeypatch.setattr(redeem, "AGAIN_SECONDS", 0.0)
    await moments.step()
    assert moments.states == [State.FINAL]
    assert len(moments.chain.sent) == 1


@pytest.mark.parametrize("change", ("signature", "deposit"))
async def test_what_may_make_it_go_is_tried_at_once(moments, change):
    moments.chain.reverting = True
    await moments.step()
    moments.chain.reverting = False
    if change == "signature":
        moments.sign(b"second")
    else:
        moments.chain.deposited += 1
    await moments.step()
    assert sorted(moments.states) == [State.FAILED, State.FINAL]


async def test_after_one_that_was_paid_for_its_payer_rests_whatever_it_signs(moments, monkeypatch):
    """A contract wallet takes its signature when it is estimated, and refuses it in the block."""
    monkeypatch.setattr(redeem, "AGAIN_SECONDS", 0.0)
    moments.chain.failing = True
    await moments.step()
    assert moments.states == [State.FAILED]
    for signature in (b"second", b"third"):
        moments.sign(signature)
        moments.chain.deposited += 1
        await moments.step()
    assert (moments.states, len(moments.chain.sent)) == ([State.FAILED], 1)
    moments.chain.failing = False
    monkeypatch.setattr(redeem, "PAID_SECONDS", 0.0)
    await moments.step()
    assert State.FINAL in moments.states


async def test_a_redemption_that_was_made_is_not_made_again(moments, monkeypatch):
    monkeypatch.setattr(redeem, "AGAIN_SECONDS", 0.0)
    await moments.step(6)
    assert (moments.states, len(moments.chain.sent)) == ([State.FINAL], 1)


async def test_what_was_taken_back_meanwhile_is_not_redeemed(moments, monkeypatch):
    """An operator corrects the answer after the payer was read, and before the transaction is planned."""

    def deposited(payer):
        moments.database.write_now(lambda c: payers.set_spent(c, A, 3))
        return 100

    monkeypatch.setattr(moments.chain, "balance", deposited)
    await moments.redeemer.leaving()
    assert moments.transactions == []


async def test_a_contract_wallet_that_owes_much_is_redeemed_soon(moments, monkeypatch):
    """Its authorisation holds for long, but it can take it back."""
    moments.sign(b"a contract's", seconds=10 * ROOM)
    moments.redeemer._credit = 10
    await moments.step()
    assert moments.states == []
    moments.redeemer._credit = 9
    await moments.step()
    assert moments.states == []  # it is looked at now and then
    monkeypatch.setattr(redeem, "WALLETS_SECONDS", 0.0)
    await moments.step()
    assert moments.states == [State.FINAL]


async def test_a_payer_that_signed_by_key_waits_for_its_epoch(moments, monkeypatch):
    monkeypatch.setattr(redeem, "WALLETS_SECONDS", 0.0)
    wallet = Wallet.create()
    granted = spending.SpendingAuthorisation(wallet.address, 50, int(time.time()) + 10 * ROOM)
    typed = spending.authorisation_message(moments.chain.chain_id, moments.chain.contracts.escrow, granted)

    def act(c):
        payers.set_spent(c, A, 0)
        payers.lock(c, wallet.address)
        payers.set_spent(c, wallet.address, 10)
        payers.authorise(c, wallet.address, 50, granted.deadline, wallet.sign(typed))

    moments.database.write_now(act)
    await moments.step()
    assert moments.chain.sent == []


# --- an epoch's


def by_key(moments, spent=10, seconds=10 * ROOM) -> Unredeemed:
    """What a payer spent who signed by key."""
    wallet, deadline = Wallet.create(), int(time.time()) + seconds
    granted = spending.SpendingAuthorisation(wallet.address, 50, deadline)
    typed = spending.authorisation_message(moments.chain.chain_id, moments.chain.contracts.escrow, granted)
    return Unredeemed(wallet.address, spent, 50, deadline, wallet.sign(typed))


async def redeemed(moments, *lines: Unredeemed) -> list[str]:
    """The payers of an epoch's batch that could not be redeemed, once all that could be done was done."""
    epoch = Epoch(1, 1, epochs.State.SEALED, "", "", 1, 1, 1, "o")
    moments.database.write_now(lambda c: epochs.plan_redemption(c, "epoch/1.1/000000", lines))
    for _ in range(10):
        if await moments.redeemer.planned(epoch):
            break
        await moments.writer.step()
    else:
        raise AssertionError("it is not over")
    left = moments.database.read_now(lambda c: epochs.redemptions(c, redeem.late_batch(epoch)))
    return [line.payer for line in left]


def wallet(digit: str) -> Unredeemed:
    return Unredeemed("0x" + digit * 40, 10, 50, int(time.time()) + 600, b"a contract's")


def redemptions(moments) -> list[int]:
    """How many lines each transaction has that was sent."""
    rows = moments.database.read_now(lambda c: c.execute(TRANSACTION.select().order_by(TRANSACTION.c.number)).all())
    return [len(decode_call("InferenceEscrow", "redeem", row.data)[0]) for row in rows if row.raw is not None]


async def test_wallets_whose_code_burns_all_gas_keep_nobody_and_are_late(moments):
    """The node does not even say that they would fail."""
    bad = [wallet("1"), wallet("f")]
    moments.writer._stuck._patience = Patience(1000, 0)
    moments.chain.inestimable = lambda call: any(address_bytes(line.payer) in call.data for line in bad)
    assert await redeemed(moments, bad[0], by_key(moments), by_key(moments), bad[1]) == [line.payer for line in bad]
    assert redemptions(moments) == [2]


async def test_wallets_that_take_their_signatures_are_redeemed_one_by_one(moments):
    assert await redeemed(moments, by_key(moments), wallet("1"), wallet("f"), by_key(moments)) == []
    assert redemptions(moments) == [2, 1, 1]


async def test_a_key_that_cannot_be_redeemed_keeps_nobody_either(moments):
    good, bad = by_key(moments), by_key(moments)

    def estimate(sender, call, most=None):
        if address_bytes(bad.payer) in call.data:
            raise CallReverted("DepositExceeded", (), "reverted")
        return 100_000

    moments.chain.estimate = estimate
    assert await redeemed(moments, good, bad) == [bad.payer]
    assert redemptions(moments) == [1]
    assert moments.redeemer._unredeemable._value.get() == 1
