"""Deposits by a signed ERC-3009 transfer, on both kinds of chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.spending import Transfer, transfer_message
from openledger.spending import sign as sign_typed
from services.ledger import calls
from services.ledger.chain import CallReverted
from services.ledger.chain_rpc import RpcChain
from tests.chains import CHAIN_ID, OPEN, PAYER, TERMS, send

FAR = 4_000_000_000  # Unix seconds


def test_a_signed_transfer_is_deposited_once_and_as_it_was_signed(chain: RpcChain) -> None:
    at = chain.contracts
    send(chain, calls.transfer(at, PAYER.address, 3 * OPEN))
    signed = Transfer(PAYER.address.lower(), at.escrow, 2 * OPEN, 0, FAR, b"1" * 32)
    signature = sign_typed(transfer_message(CHAIN_ID, at.token, signed), PAYER.key)
    with pytest.raises(CallReverted, match="ERC3009InvalidSignature"):
        chain.estimate(TERMS.operator, calls.deposit_with_authorization(at, replace(signed, amount=OPEN), signature))
    send(chain, calls.deposit_with_authorization(at, signed, signature))
    assert (chain.balance(PAYER.address), chain.token_balance(PAYER.address)) == (2 * OPEN, OPEN)
    (deposit,) = chain.deposits(at.block)
    assert (deposit.payer, deposit.amount) == (PAYER.address.lower(), 2 * OPEN)
    with pytest.raises(CallReverted, match="ERC3009UsedAuthorization"):
        chain.estimate(TERMS.operator, calls.deposit_with_authorization(at, signed, signature))
    over = replace(signed, nonce=b"2" * 32, valid_before=1)
    signature = sign_typed(transfer_message(CHAIN_ID, at.token, over), PAYER.key)
    with pytest.raises(CallReverted, match="ERC3009InvalidAuthorizationTime"):
        chain.estimate(TERMS.operator, calls.deposit_with_authorization(at, over, signature))


def test_what_a_root_may_add_is_told(chain: RpcChain) -> None:
    assert chain.max_epoch_increase() == TERMS.max_epoch_increase
