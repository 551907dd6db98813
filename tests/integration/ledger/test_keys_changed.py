"""Keys that are changed while people work: what was signed by the one of before, and who notices."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from openledger import receipt as receipts
from openledger.client import ApiError, Wallet
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import SECRET, as_wallet
from tests.ledger_world import OPEN, SIGNER, a_receipt, booked, lease, pay_in
from tests.ports import six_free_ports

FEE, NEXT = OPEN // 20, Wallet("0x" + "5a" * 32)


def by_next(payer: Wallet, held: str) -> receipts.Receipt:
    return receipts.sign(replace(a_receipt(payer, held, FEE), signature="", signer=""), NEXT.private_key)


async def test_receipts_by_either_key_are_booked_while_both_are_named_and_then_by_the_new_one_alone(world, payer):
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        held = (await lease(where, payer, OPEN)).name
    world.more["attribution_signers"] = (SIGNER.address, NEXT.address)
    async with world.run() as where:
        both = [a_receipt(payer, held, FEE), by_next(payer, held)]
        world.attribution.give(*both)
        await booked(where, payer, both)
    world.more["attribution_signers"] = (NEXT.address,)
    async with world.run() as where:
        late, new = a_receipt(payer, held, FEE), by_next(payer, held)
        world.attribution.give(late, new)
        await booked(where, payer, [*both, new])
        async with as_wallet(payer, ledger=where) as client:
            with pytest.raises(ApiError, match=r"RECEIPT_REJECTED.* is not one of the signers whose receipts count"):
                await client.call(client.ledger.GetPayout, ledger_pb2.GetPayoutRequest(response=late.response))


async def test_who_had_signed_in_goes_on_when_the_key_of_sessions_is_another(world, payer):
    world.more["listen"] = where = f"127.0.0.1:{six_free_ports()}"
    request = ledger_pb2.GetBalanceRequest(account=payer.account)
    async with as_wallet(payer, ledger=where) as client:
        async with world.run():
            await client.call(client.ledger.GetBalance, request)
        (world.folder / "ledger" / "sessions.pem").unlink()
        async with world.run():
            assert (await client.call(client.ledger.GetBalance, request)).account == payer.account


async def test_services_with_the_secret_of_before_are_let_in_until_it_is_named_no_more(world, payer):
    world.more |= {"service_secret": "n" * 32, "service_secret_also": SECRET}
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        assert (await lease(where, payer, FEE)).amount == str(FEE)
    world.more["service_secret_also"] = ""
    async with world.run() as where:
        with pytest.raises(ApiError) as caught:
            await lease(where, payer, FEE)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, "BAD_TOKEN")
