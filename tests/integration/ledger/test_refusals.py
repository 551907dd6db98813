"""The ledger over real gRPC: what it refuses, what it says then, and that nothing moved."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from openledger import receipt as receipts
from openledger import split
from openledger.client import ApiError, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import as_service, as_wallet
from services.ledger import calls
from tests.ledger_world import (
    EARNERS,
    OPEN,
    OPERATOR,
    SIGNER,
    a_receipt,
    authorisation,
    balance,
    booked,
    conservation,
    lease,
    pay_in,
    permit,
    refused,
)

# --- money in


def signed_claim(without: str, **mine) -> ledger_pb2.RelaySignedClaimRequest:
    amounts = {field: "1" for field in ("cumulative", "max_fee") if field != without}
    return ledger_pb2.RelaySignedClaimRequest(to=OPERATOR.account, signature=b"x", **amounts, **mine)


async def test_what_is_no_amount_is_refused_wherever_one_is_asked_for(where, payer, client):
    mine = {"account": payer.account, "request_id": request_id()}
    async with as_service("openlora", ledger=where) as openlora:
        asking = (
            (
                client,
                client.ledger.RelayDeposit,
                ledger_pb2.RelayDepositRequest(permit_signature=b"x", **mine),
                "amount",
            ),
            (
                client,
                client.ledger.AuthoriseSpending,
                ledger_pb2.AuthoriseSpendingRequest(signature=b"x", **mine),
                "cap",
            ),
            (
                client,
                client.ledger.RelayAuthorisedDeposit,
                ledger_pb2.RelayAuthorisedDepositRequest(signature=b"x", nonce=b"n", **mine),
                "amount",
            ),
            (
                client,
                client.ledger.RelayTransfer,
                ledger_pb2.RelayTransferRequest(to=OPERATOR.account, signature=b"x", nonce=b"n", **mine),
                "amount",
            ),
            *(
                (client, client.ledger.RelaySignedClaim, signed_claim(field, **mine), field)
                for field in ("cumulative", "max_fee")
            ),
            (openlora, openlora.ledger.AcquireLease, ledger_pb2.AcquireLeaseRequest(**mine), "amount"),
            (
                openlora,
                openlora.ledger.ReleaseLease,
                ledger_pb2.ReleaseLeaseRequest(name="leases/1", request_id=mine["request_id"]),
                "used",
            ),
        )
        for caller, method, request, field in asking:
            for text in ("-1", "1.5", "1e3", "01", "+1", " 1", "0x1", "\uff11", "", str(2**128), str(2**256 - 1)):
                setattr(request, field, text)
                error = await refused(caller, method, request)
                assert (error.reason, field in error.message) == ("INVALID_FIELD", True), (field, text)
        empty = ledger_pb2.AcquireLeaseRequest(amount=str(2**128 - 1), **mine)
        assert (await refused(openlora, openlora.ledger.AcquireLease, empty)).reason == "INSUFFICIENT_BALANCE"


async def test_nothing_is_an_amount_only_where_that_says_something(world, where, payer, client):
    mine = {"account": payer.account, "request_id": request_id()}
    zero = signed_claim("cumulative", cumulative="0", **mine)
    assert (await refused(client, client.ledger.RelaySignedClaim, zero)).reason == "NO_CLAIM"
    # A wallet's word that nothing may be spent is one; a lease over nothing is what answers take that cost nothing.
    await pay_in(world, where, payer, OPEN, cap=0)
    with pytest.raises(ApiError, match=r"INSUFFICIENT_BALANCE: .* a cap of 1 or more"):
        await lease(where, payer, 1)
    assert (await lease(where, payer, 0)).amount == "0"
    assert (await balance(where, payer)).spendable == "0"


async def test_a_permit_that_does_not_hold(world, where, payer, client):
    request = await permit(world, where, payer, OPEN)
    request.amount = str(2 * OPEN)
    error = await refused(client, client.ledger.RelayDeposit, request)
    assert error.reason == "DEPOSIT_REFUSED"
    assert "the permit does not hold" in error.message
    assert (await balance(where, payer)).deposited == "0"


async def test_a_deposit_of_more_than_there_is(world, where, payer, client):
    request = await permit(world, where, payer, OPEN)
    chain = world.chain()
    world.send(payer, calls.transfer(chain.contracts, OPERATOR.address, OPEN // 2))
    error = await refused(client, client.ledger.RelayDeposit, request)
    assert (error.reason, "does not have so much OPEN" in error.message) == ("DEPOSIT_REFUSED", True)
    # The same request passes once the money is there.
    world.give_tokens(chain, payer, OPEN)
    assert (await client.call(client.ledger.RelayDeposit, request)).credited


@pytest.mark.parametrize(
    ("change", "reason"), (({"permit_signature": b"x" * 64}, "BAD_SIGNATURE"), ({"amount": "0"}, "NOTHING_TO_DEPOSIT"))
)
async def test_a_deposit_that_cannot_be_one(payer, client, change, reason):
    plain = {"account": payer.account, "amount": "1", "deadline": 2**40, "permit_signature": b"x" * 65}
    request = ledger_pb2.RelayDepositRequest(**plain | change, request_id=request_id())
    assert (await refused(client, client.ledger.RelayDeposit, request)).reason == reason


async def test_a_deposit_asked_for_twice_is_made_once(world, where, payer, client):
    request = await permit(world, where, payer, OPEN)
    first = await client.call(client.ledger.RelayDeposit, request)
    assert await client.call(client.ledger.RelayDeposit, request) == first
    other = ledger_pb2.RelayDepositRequest()
    other.CopyFrom(request)
    other.amount = str(OPEN // 2)
    assert (await refused(client, client.ledger.RelayDeposit, other)).reason == "REQUEST_ID_REUSED"
    other.CopyFrom(request)
    other.request_id = request_id()
    assert (await refused(client, client.ledger.RelayDeposit, other)).reason == "DEPOSIT_REFUSED"
    assert (await balance(where, payer)).deposited == str(OPEN)


async def test_one_unit_is_money_too(world, where, payer):
    paid_in = await pay_in(world, where, payer, 1)
    assert (paid_in.deposited, paid_in.spendable) == ("1", "1")
    held = await lease(where, payer, 1)
    with pytest.raises(ApiError, match="INSUFFICIENT_BALANCE"):
        await lease(where, payer, 1)
    world.attribution.give(one := a_receipt(payer, held.name, 1))
    await booked(where, payer, [one])
    assert ((await balance(where, payer)).deposited, (await conservation(where)).fees) == ("0", "1")


# --- authorisations and leases


async def test_a_payer_without_money_is_told_what_to_do(world, where, payer):
    with pytest.raises(ApiError) as caught:
        await lease(where, payer, OPEN)
    error = caught.value
    assert error.reason == "INSUFFICIENT_BALANCE"
    told = {"account": payer.account, "spendable": "0", "set_aside": "0", "needed": str(OPEN), "do": "deposit"}
    assert error.metadata == told
    assert "set aside" not in error.message
    await pay_in(world, where, payer, 2 * OPEN, cap=OPEN // 2)
    with pytest.raises(ApiError) as caught:
        await lease(where, payer, OPEN)
    assert (caught.value.metadata["spendable"], caught.value.metadata["do"]) == (str(OPEN // 2), "authorise")


async def test_leases_never_hold_more_than_there_is(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    first = await lease(where, payer, OPEN * 2 // 3)
    with pytest.raises(ApiError, match=r"INSUFFICIENT_BALANCE.* 0\.66\d* OPEN is set aside for answers") as caught:
        await lease(where, payer, OPEN * 2 // 3)
    assert caught.value.metadata["set_aside"] == str(OPEN * 2 // 3)
    async with as_service("openlora", ledger=where) as openlora:
        give_back = ledger_pb2.ReleaseLeaseRequest(name=first.name, used="5", request_id=request_id())
        await openlora.call(openlora.ledger.ReleaseLease, give_back)
        assert (await balance(where, payer)).leased == "5"
        again = ledger_pb2.ReleaseLeaseRequest(name=first.name, used=str(OPEN), request_id=request_id())
        assert (await refused(openlora, openlora.ledger.ReleaseLease, again)).reason == "LEASE_EXCEEDED"
        nowhere = ledger_pb2.ReleaseLeaseRequest(name="leases/none", used="0", request_id=request_id())
        assert (await refused(openlora, openlora.ledger.ReleaseLease, nowhere)).reason == "LEASE_NOT_FOUND"
    await lease(where, payer, OPEN * 2 // 3)


async def test_a_lease_asked_for_twice_is_given_once(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    name = request_id()
    first = await lease(where, payer, OPEN // 4, request_id=name)
    assert await lease(where, payer, OPEN // 4, request_id=name) == first
    with pytest.raises(ApiError, match="REQUEST_ID_REUSED"):
        await lease(where, payer, OPEN // 8, request_id=name)
    assert (await balance(where, payer)).leased == str(OPEN // 4)


async def test_an_authorisation_must_be_the_payers_and_last(where, payer, client):
    foreign = await authorisation(where, Wallet.create(), OPEN)
    foreign.account = payer.account
    assert (await refused(client, client.ledger.AuthoriseSpending, foreign)).reason == "BAD_SIGNATURE"
    changed = await authorisation(where, payer, OPEN)
    changed.cap = str(2 * OPEN)
    assert (await refused(client, client.ledger.AuthoriseSpending, changed)).reason == "BAD_SIGNATURE"
    loose = await authorisation(where, payer, OPEN)
    loose.signature = loose.signature[:64] + bytes([loose.signature[64] - 27])
    assert (await refused(client, client.ledger.AuthoriseSpending, loose)).reason == "BAD_SIGNATURE"
    for deadline in (int(time.time()) + 60, 2**63):
        short = await authorisation(where, payer, OPEN, deadline=deadline)
        assert (await refused(client, client.ledger.AuthoriseSpending, short)).reason == "BAD_DEADLINE"
    assert (await balance(where, payer)).authorised == "0"


async def test_a_cap_does_not_fall_below_what_is_promised(world, where, payer, client):
    await pay_in(world, where, payer, OPEN)
    await lease(where, payer, OPEN // 2)
    low = await authorisation(where, payer, OPEN // 2 - 1)
    error = await refused(client, client.ledger.AuthoriseSpending, low)
    assert (error.reason, error.metadata["at_least"]) == ("CAP_TOO_LOW", str(OPEN // 2))
    enough = await authorisation(where, payer, OPEN // 2)
    answer = await client.call(client.ledger.AuthoriseSpending, enough)
    assert (answer.authorised, answer.spendable) == (str(OPEN // 2), "0")
    assert await client.call(client.ledger.AuthoriseSpending, enough) == answer


# --- receipts


async def rejected(world, where, payer, document) -> str:
    """Why a receipt was refused, after one that is good went through behind it."""
    held = await lease(where, payer, 1000)
    world.attribution.give(document, good := a_receipt(payer, held.name, 1000))
    await booked(where, payer, [good])
    async with as_wallet(payer, ledger=where) as client:
        request = ledger_pb2.GetPayoutRequest(response=document.response)
        error = await refused(client, client.ledger.GetPayout, request)
    assert error.reason == "RECEIPT_REJECTED"
    return error.metadata["why"]


def resign(document, **changes):
    return receipts.sign(replace(document, **changes), SIGNER.private_key)


def raised(document):
    """One payee's share raised, taken from what is held; the sum still fits."""
    shares = dict(document.shares)
    shares[EARNERS[0].address] += shares.pop(split.STAKERS)
    return resign(document, shares=shares)


BAD = {
    "BAD_SIGNATURE": lambda d, _: receipts.sign(d, Wallet.create().private_key),
    "BAD_SIGNATURE ": lambda d, _: replace(d, fee=d.fee + 1),
    "WRONG_SPLIT": lambda d, _: raised(d),
    "WRONG_RULE": lambda d, _: resign(d, rule=split.Rule(0, 0, 0)),
    "WRONG_PLATFORM": lambda d, _: resign(d, platform=EARNERS[0].address),
    "BAD_NAMES": lambda d, _: resign(d, developer="me"),
    "UNKNOWN_LEASE": lambda d, _: resign(d, lease="leases/unknown"),
    "WRONG_LEASE": lambda d, other: resign(d, lease=other),
}


@pytest.mark.parametrize("reason", BAD)
async def test_a_receipt_that_does_not_hold_moves_nothing(world, where, payer, reason):
    other = Wallet.create()
    await pay_in(world, where, payer, OPEN)
    await pay_in(world, where, other, OPEN)
    held, theirs = await lease(where, payer, OPEN // 2), await lease(where, other, OPEN // 2)
    bad = BAD[reason](a_receipt(payer, held.name, OPEN // 4), theirs.name)
    assert await rejected(world, where, payer, bad) == reason.strip()
    assert (await conservation(where)).fees == "1000"
    assert (await balance(where, other)).deposited == str(OPEN)


async def test_an_answer_is_paid_by_one_receipt_for_ever(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    held = await lease(where, payer, OPEN // 2)
    first = a_receipt(payer, held.name, OPEN // 4)
    world.attribution.give(first)
    [payout] = await booked(where, payer, [first])
    second = a_receipt(payer, held.name, OPEN // 8, response=first.response)
    last = a_receipt(payer, held.name, 1000)
    world.attribution.give(second, first, last)
    await booked(where, payer, [last])
    assert await booked(where, payer, [first]) == [payout]
    assert (await conservation(where)).fees == str(OPEN // 4 + 1000)


async def test_a_lease_pays_its_amount_and_no_more(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    held = await lease(where, payer, OPEN // 4)
    assert await rejected(world, where, payer, a_receipt(payer, held.name, OPEN // 2)) == "LEASE_EXCEEDED"


async def test_a_receipt_that_comes_after_its_lease_was_given_back_is_paid_if_there_is_money(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    held = await lease(where, payer, OPEN)
    async with as_service("openlora", ledger=where) as openlora:
        give_back = ledger_pb2.ReleaseLeaseRequest(name=held.name, used="1000", request_id=request_id())
        await openlora.call(openlora.ledger.ReleaseLease, give_back)
    late = a_receipt(payer, held.name, OPEN // 2)
    world.attribution.give(late)
    await booked(where, payer, [late])
    await lease(where, payer, OPEN // 2 - 2000)
    too_late = a_receipt(payer, held.name, OPEN // 4)
    assert await rejected(world, where, payer, too_late) == "INSUFFICIENT_BALANCE"


async def test_garbage_in_the_log_is_passed_over(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    held = await lease(where, payer, OPEN)
    good = a_receipt(payer, held.name, 1000)
    world.attribution.give(b"", b"\xff" * 100, b"{}", b"[" * 50_000, good.dumps()[:-1], good)
    await booked(where, payer, [good])
    assert (await conservation(where)).fees == "1000"
