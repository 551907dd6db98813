"""People who have a key and no wallet: they hold no ether, ever, and get all that they earn to where they want it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from openledger import spending
from openledger.client import ApiError, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from openledger.spending import SignedClaim, Transfer
from services.kit.testing import as_wallet
from services.ledger import calls
from services.ledger.calls import ClaimLeaf
from tests import chains
from tests.ledger_world import (
    DAY,
    EARNERS,
    OPEN,
    OPERATOR,
    a_receipt,
    booked,
    close_epoch,
    info,
    lease,
    pay_in,
    refused,
    until,
)

EARNER = EARNERS[-1]
RING = 8
"""Roots that the distributor remembers."""


async def earned(world, where, payer) -> None:
    """One more epoch that pays the earners."""
    held = await lease(where, payer, OPEN // 2)
    world.attribution.give(receipt := a_receipt(payer, held.name, OPEN // 4))
    await booked(where, payer, [receipt])
    await close_epoch(where)


async def leaf_of(client, wallet) -> ledger_pb2.Claim:
    return await client.call(client.ledger.GetClaim, ledger_pb2.GetClaimRequest(account=wallet.account))


async def claim_to(client, at, to: Wallet) -> ledger_pb2.Claim:
    """What the earner can claim, signed for another address by nothing but the key."""
    found = await leaf_of(client, EARNER)
    signed = SignedClaim(EARNER.address, to.address, int(found.cumulative), 0, int(time.time()) + DAY)
    request = ledger_pb2.RelaySignedClaimRequest(
        account=EARNER.account,
        to=to.account,
        cumulative=found.cumulative,
        max_fee="0",
        deadline=signed.deadline,
        signature=EARNER.sign(spending.claim_message(at.chain_id, at.contracts["RewardsDistributor"], signed)),
        request_id=request_id(),
    )
    return await client.call(client.ledger.RelaySignedClaim, request)


async def strangers_claim(world, where, client, stranger: Wallet) -> int:
    """Somebody claims for the earner, on chain, where anybody may; what came to the earner's own address."""
    found, chain = await leaf_of(client, EARNER), world.chain()
    number = int(found.epoch.removeprefix("epochs/"))
    leaf = ClaimLeaf(EARNER.address, int(found.cumulative), list(found.proof))
    world.send(stranger, calls.claim(chain.contracts, number, leaf))
    await until(where, EARNER, lambda b: b.claimed == found.cumulative)
    return int(found.amount)


def has_no_ether(world) -> bool:
    asked = ("eth_getBalance", "eth_getTransactionCount")
    return [chains.rpc(world.rpc_url, what, EARNER.address, "latest") for what in asked] == ["0x0", "0x0"]


@pytest.mark.slow
async def test_what_was_earned_over_many_epochs_comes_by_one_claim(world, payer):
    """Over more of them than the distributor remembers roots."""
    wallet = Wallet.create()
    async with world.run() as where, as_wallet(EARNER, ledger=where) as client:
        at = await info(client)
        await pay_in(world, where, payer, 8 * OPEN)
        for _ in range(RING + 1):
            await earned(world, where, payer)
        balance = await client.call(client.ledger.GetBalance, ledger_pb2.GetBalanceRequest(account=EARNER.account))
        assert (int(balance.earned) > 0, balance.settled, balance.claimed) == (True, balance.earned, "0")
        done = await claim_to(client, at, wallet)
        assert (done.epoch, done.amount, done.to) == (f"epochs/{RING + 1}", balance.earned, wallet.account)
        assert world.token_balance(at, wallet.address) == int(balance.earned)
        assert has_no_ether(world)


class Sending:
    """The earner's requests to send on what came to its own address."""

    def __init__(self, at: ledger_pb2.SettlementInfo, to: Wallet, amount: int) -> None:
        self.at = at
        self.plain = Transfer(EARNER.address, to.address, amount, 0, int(time.time()) + DAY, b"n" * 32)

    def request(self, signer: Wallet = EARNER, told: dict | None = None, **changes) -> ledger_pb2.RelayTransferRequest:
        """`changes` are signed, `told` is said beside what was signed."""
        signed = replace(self.plain, **changes)
        typed = spending.open_transfer_message(self.at.chain_id, self.at.contracts["OpenToken"], signed)
        fields = {
            "account": f"accounts/{signed.payer}",
            "to": f"accounts/{signed.to}",
            "amount": str(signed.amount),
            "valid_after": signed.valid_after,
            "valid_before": signed.valid_before,
            "nonce": signed.nonce,
            "signature": signer.sign(typed),
            "request_id": request_id(),
        }
        return ledger_pb2.RelayTransferRequest(**fields | (told or {}))


async def test_what_a_stranger_claimed_to_the_keys_own_address_can_be_sent_on(world, where, payer):
    wallet, now = Wallet.create(), int(time.time())
    await pay_in(world, where, payer, OPEN)
    await earned(world, where, payer)
    async with as_wallet(EARNER, ledger=where) as client:
        at = await info(client)
        came = await strangers_claim(world, where, client, payer)
        assert world.token_balance(at, EARNER.address) == came > 0
        with pytest.raises(ApiError, match=r"NOTHING_TO_CLAIM.*RelayTransfer"):
            await claim_to(client, at, wallet)
        send, method = Sending(at, wallet, came), client.ledger.RelayTransfer
        for request, reason in (
            (send.request(Wallet.create()), "BAD_SIGNATURE"),
            (send.request(told={"amount": str(came - 1)}), "BAD_SIGNATURE"),
            (send.request(told={"to": OPERATOR.account}), "BAD_SIGNATURE"),
            (send.request(told={"signature": b"x" * 65}), "BAD_SIGNATURE"),
            (send.request(nonce=b"n" * 31, told={"signature": b"x"}), "BAD_NONCE"),
            (send.request(amount=0), "NOTHING_TO_SEND"),
            (send.request(to=EARNER.address), "BAD_ADDRESS"),
            (send.request(to="0x" + "0" * 40), "BAD_ADDRESS"),
            (send.request(told={"account": payer.account}), "NOT_YOURS"),
            (send.request(amount=came + 1), "MORE_THAN_CLAIMED"),
            (send.request(valid_before=now - 1), "TRANSFER_REFUSED"),
            (send.request(valid_after=now + DAY // 2), "TRANSFER_REFUSED"),
        ):
            assert (await refused(client, method, request)).reason == reason, request
        assert world.token_balance(at, wallet.address) == 0

        request = send.request()
        done = await client.call(method, request)
        assert (done.account, done.to, done.amount) == (EARNER.account, wallet.account, str(came))
        assert world.token_balance(at, wallet.address) == came
        assert await client.call(method, request) == done
        receipt = world.chain().receipt(done.transaction)
        assert receipt is not None
        assert receipt.gas_used <= 90_000
        # Once more than was ever claimed is the wallet's own to send, be the OPEN there or not.
        another = send.request(amount=1, nonce=b"m" * 32)
        assert (await refused(client, method, another)).metadata["claimed"] == str(came)
        assert has_no_ether(world)


async def test_transfers_have_the_relayers_limits(world, payer):
    # One deposit fits, which may take 208,000, and one transfer; two do not.
    world.more |= {"relay_gas_per_day": 210_000, "relay_min_claim": 1000}
    async with world.run() as where, as_wallet(EARNER, ledger=where) as client:
        at = await info(client)
        await pay_in(world, where, payer, OPEN)
        await earned(world, where, payer)
        await strangers_claim(world, where, client, payer)
        send, method = Sending(at, Wallet.create(), 1000), client.ledger.RelayTransfer
        small = await refused(client, method, send.request(amount=999))
        assert (small.reason, small.metadata["at_least"]) == ("TOO_SMALL_TO_RELAY", "1000")
        assert (await client.call(method, send.request())).transaction
        assert (await refused(client, method, send.request(nonce=b"m" * 32))).reason == "RELAY_BUDGET_SPENT"
