"""What people sign and the ledger sends: claims paid elsewhere, deposits by ERC-3009; and what it does not send."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from openledger import spending
from openledger.client import Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from openledger.spending import SignedClaim, Transfer
from services.kit.testing import as_wallet
from services.ledger import calls
from services.ledger.calls import ClaimLeaf
from tests.ledger_world import (
    DAY,
    EARNERS,
    OPEN,
    OPERATOR,
    TREASURY,
    a_receipt,
    balance,
    booked,
    claim,
    close_epoch,
    info,
    lease,
    pay_in,
    refused,
)

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1: with (r, s, v) also (r, ORDER - s, 55 - v) is a signature of the same key."""


def malleable(signature: bytes) -> bytes:
    """The other spelling of a signature."""
    s = ORDER - int.from_bytes(signature[32:64])
    return signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]])


async def earned(world, where, payer):
    """One more epoch that pays the earners."""
    held = await lease(where, payer, OPEN // 2)
    world.attribution.give(receipt := a_receipt(payer, held.name, OPEN // 4))
    await booked(where, payer, [receipt])
    return await close_epoch(where)


def asked(signed: SignedClaim, signature: bytes, **changes) -> ledger_pb2.RelaySignedClaimRequest:
    plain = {
        "account": f"accounts/{signed.account}",
        "to": f"accounts/{signed.to}",
        "cumulative": str(signed.cumulative),
        "max_fee": str(signed.max_fee),
        "deadline": signed.deadline,
        "signature": signature,
        "request_id": request_id(),
    }
    return ledger_pb2.RelaySignedClaimRequest(**plain | changes)


async def test_a_claim_is_paid_where_its_owner_signed_for_once(world, payer):
    fee, to = OPEN // 1000, Wallet.create()
    world.more |= {"claim_fee": fee, "artifacts_url": "https://artifacts.example.org"}
    async with world.run() as where, as_wallet(Wallet.create(), ledger=where) as client:
        at = await info(client)
        assert (at.claim_fee, at.artifacts_url) == (str(fee), "https://artifacts.example.org")
        await pay_in(world, where, payer, 4 * OPEN)
        await earned(world, where, payer)
        earner = EARNERS[-1]

        def sign(wallet: Wallet = earner, **changes) -> tuple[SignedClaim, bytes]:
            signed = replace(plain, **changes)
            message = spending.claim_message(at.chain_id, at.contracts["RewardsDistributor"], signed)
            return signed, wallet.sign(message)

        leaf = await client.call(client.ledger.GetClaim, ledger_pb2.GetClaimRequest(account=earner.account))
        plain = SignedClaim(earner.address, to.address, int(leaf.cumulative), fee, int(time.time()) + DAY)
        good, signature = sign()
        others = await client.call(client.ledger.GetClaim, ledger_pb2.GetClaimRequest(account=EARNERS[-2].account))
        for request, reason in (
            (asked(*sign(Wallet.create())), "BAD_SIGNATURE"),
            (asked(good, malleable(signature)), "BAD_SIGNATURE"),
            (asked(good, signature[:64] + bytes([signature[64] - 27])), "BAD_SIGNATURE"),
            (asked(good, signature, to=OPERATOR.account), "BAD_SIGNATURE"),
            (asked(good, signature, max_fee=str(2 * fee)), "BAD_SIGNATURE"),
            (asked(good, b"x"), "BAD_SIGNATURE"),
            (asked(*sign(cumulative=good.cumulative + 1)), "STALE_CLAIM"),
            (asked(*sign(cumulative=int(others.cumulative))), "STALE_CLAIM"),  # somebody else's leaf
            (asked(*sign(max_fee=fee - 1)), "FEE_TOO_LOW"),
            (asked(*sign(deadline=int(time.time()) - 1)), "BAD_DEADLINE"),
            (asked(*sign(to="0x" + "0" * 40)), "BAD_ADDRESS"),
            (asked(*sign(account=to.address)), "NO_CLAIM"),
            *(
                (asked(good, signature, cumulative=text), "INVALID_FIELD")
                for text in ("-1", "1.0", "1e18", str(2**256 - 1))
            ),
        ):
            assert (await refused(client, client.ledger.RelaySignedClaim, request)).reason == reason, request
        assert world.token_balance(at, to.address) == 0

        request = asked(good, signature)
        done = await client.call(client.ledger.RelaySignedClaim, request)
        assert (done.to, done.fee, done.amount) == (to.account, str(fee), leaf.cumulative)
        assert world.token_balance(at, to.address) == int(leaf.cumulative) - fee
        assert (await balance(where, earner)).claimed == leaf.cumulative
        assert await client.call(client.ledger.RelaySignedClaim, request) == done
        used = await refused(client, client.ledger.RelaySignedClaim, asked(good, signature))
        assert used.reason == "NOTHING_TO_CLAIM"

        await earned(world, where, payer)  # now there is more, and the old signature is still good for nothing
        used = await refused(client, client.ledger.RelaySignedClaim, asked(good, signature))
        assert (used.reason, int(used.metadata["cumulative"]) > good.cumulative) == ("STALE_CLAIM", True)
        old = calls.claim(world.chain().contracts, 1, ClaimLeaf(earner.address, good.cumulative, list(leaf.proof)))
        with pytest.raises(Exception, match="NothingToClaim"):
            world.send(payer, old)  # on chain neither: an old proof pays what it paid
        assert int((await claim(where, earner)).amount) > 0


async def transfer(world, where, wallet, amount=OPEN, signer: Wallet | None = None, **changes):
    """A request to bring in what the wallet has, by a signed transfer; the wallet is given it."""
    async with as_wallet(wallet, ledger=where) as client:
        at = await info(client)
    world.rpc.transfer(TREASURY, at.contracts["OpenToken"], wallet.address, OPEN)
    plain = Transfer(wallet.address, at.contracts["InferenceEscrow"], amount, 0, int(time.time()) + DAY, b"n" * 32)
    signed = replace(plain, **changes)
    typed = spending.transfer_message(at.chain_id, at.contracts["OpenToken"], signed)
    return ledger_pb2.RelayAuthorisedDepositRequest(
        account=wallet.account,
        amount=str(amount),
        valid_after=signed.valid_after,
        valid_before=signed.valid_before,
        nonce=signed.nonce,
        signature=(signer or wallet).sign(typed),
        request_id=request_id(),
    )


def changed(request, **changes):
    other = type(request)()
    other.CopyFrom(request)
    for name, value in {"request_id": request_id(), **changes}.items():
        setattr(other, name, value)
    return other


async def test_a_signed_transfer_brings_money_in_once(world, where, payer, client):
    request = await transfer(world, where, payer)
    method = client.ledger.RelayAuthorisedDeposit
    for bad, reason in (
        (changed(request, signature=malleable(request.signature)), "BAD_SIGNATURE"),
        (changed(request, signature=request.signature[:64]), "BAD_SIGNATURE"),
        (changed(request, amount=str(OPEN - 1)), "BAD_SIGNATURE"),
        (changed(request, amount="0"), "NOTHING_TO_DEPOSIT"),
        (changed(request, amount="1e18"), "INVALID_FIELD"),
        (changed(request, nonce=b"m" * 32), "BAD_SIGNATURE"),
        (changed(request, nonce=b"n" * 31), "BAD_NONCE"),
        (changed(request, account=OPERATOR.account), "NOT_YOURS"),
        (await transfer(world, where, payer, signer=Wallet.create()), "BAD_SIGNATURE"),
        (await transfer(world, where, payer, to=OPERATOR.address), "BAD_SIGNATURE"),
        (await transfer(world, where, payer, valid_before=int(time.time()) - 1), "DEPOSIT_REFUSED"),
        (await transfer(world, where, payer, valid_after=int(time.time()) + DAY // 2), "DEPOSIT_REFUSED"),
    ):
        assert (await refused(client, method, bad)).reason == reason, bad
    assert (await balance(where, payer)).deposited == "0"
    done = await client.call(method, request)
    assert (done.credited, done.amount) == (True, str(OPEN))
    assert await client.call(method, request) == done
    again = await refused(client, method, changed(request))
    assert (again.reason, "used already" in again.message) == ("DEPOSIT_REFUSED", True)
    assert (await balance(where, payer)).deposited == str(OPEN)
