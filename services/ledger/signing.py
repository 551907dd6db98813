"""What a transaction offers for gas, and its signature, which a signer makes (`signer`); wei a unit of gas.

A transaction that waits too long is signed again under its nonce with a better offer: both of its parts must rise by a
tenth at least for nodes to let it take the other's place (geth's rule, and the strictest that is in use).  No offer
passes the cap: above it, it waits for the price to fall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from openledger.claims import address_bytes
from services.ledger.chain import Call, Price
from services.ledger.signer import Signer

RISE_NUMERATOR, RISE_DENOMINATOR = 9, 8  # 12.5 %


@dataclass(frozen=True)
class Patience:
    """`max_fee`: the most that is ever offered.  `seconds`: how long something may wait until it is stuck.

    `gas_percent`: of the most gas that a kind of transaction may take on Ethereum (`gas_bounds`).
    """

    max_fee: int
    seconds: float
    gas_percent: int = 100


@dataclass(frozen=True, slots=True)
class Fees:
    """What the sender offers."""

    max_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction ready to send. Keep `raw` before the first `broadcast`: it is what a restart sends again."""

    raw: bytes
    hash: str
    nonce: int


def offer(price: Price, cap: int) -> Fees | None:
    """An offer that holds through several full blocks, as far as the cap allows; None when gas costs more than that."""
    if price.base >= cap:
        return None
    most = min(2 * price.base + price.tip, cap)
    return Fees(most, min(price.tip, most))


def better(than: Fees, price: Price, cap: int) -> Fees | None:
    """An offer that may take that one's place; None when the cap does not allow it, or gas costs more than the cap."""
    wanted = offer(price, cap)
    if wanted is None:
        return None
    risen = Fees(_risen(than.max_fee), _risen(than.priority_fee))
    most = max(wanted.max_fee, risen.max_fee)
    if risen.max_fee > cap:
        return None
    return Fees(most, min(most, max(wanted.priority_fee, risen.priority_fee)))


def _risen(fee: int) -> int:
    return -(-max(fee, 1) * RISE_NUMERATOR // RISE_DENOMINATOR)


def sign(signer: Signer, call: Call, *, chain_id: int, nonce: int, gas: int, fees: Fees) -> SignedTransaction:
    """Signs a transaction (EIP-1559) without sending it. Raises what the signer raises.

    A key in this process gives the same bytes for the same input; a signing service may give others each time.
    """
    fields: dict[str, Any] = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "gas": gas,
        "maxFeePerGas": fees.max_fee,
        "maxPriorityFeePerGas": fees.priority_fee,
        "value": call.value,
        "data": call.data,
    }
    if call.to is not None:
        fields["to"] = address_bytes(call.to)
    signed = signer.sign_transaction(fields)
    return SignedTransaction(bytes(signed.raw_transaction), "0x" + bytes(signed.hash).hex(), nonce)


def signed_terms(raw: bytes) -> tuple[int, Fees]:
    """Gas and offer of a transaction that `sign` made."""
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return int(fields["gas"]), Fees(int(fields["maxFeePerGas"]), int(fields["maxPriorityFeePerGas"]))
