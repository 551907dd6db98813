"""The most gas that a transaction of the ledger's may take, by what it calls.  Pure.

Where an account is a contract, the contracts ask its code whether it signed (ERC-1271), and give it whatever gas there
is: it may burn all of that, or take a signature when it is estimated and refuse it in a block.  So no more gas goes
with a transaction than its kind needs with a wallet that is none too dear, and what takes more is not sent.  What it
does not know: chains whose gas pays for another chain, too (`OPENLEDGER_LEDGER_GAS_BOUND_PERCENT`).
"""

from __future__ import annotations

from openledger.abi import selector
from services.ledger.chain import Call

WALLET = 100_000
"""What a contract wallet may take to say whether it signed; it is in the bounds of what asks one."""

BYTE = 40
"""Of calldata (EIP-7623), which is more than calldata and hashing of a proof take."""

LINE = 40_000
"""Each that is redeemed."""

OTHERS = 3_000_000
"""Calls in which nobody else's code runs, and that take what they take."""

_BOUNDS = {
    selector(*of): gas
    for of, gas in {
        ("InferenceEscrow", "redeem"): 160_000 + WALLET,
        ("InferenceEscrow", "depositWithPermit"): 200_000,
        ("InferenceEscrow", "depositWithAuthorization"): 200_000,
        ("OpenToken", "transferWithAuthorization"): 150_000,
        ("RewardsDistributor", "claim"): 160_000,
        ("RewardsDistributor", "claimWithSig"): 180_000 + WALLET,
    }.items()
}
_REDEEM = selector("InferenceEscrow", "redeem")


def most(call: Call) -> int:
    """Gas of the whole transaction, on a chain that counts as Ethereum does."""
    bound = _BOUNDS.get(call.data[:4])
    if bound is None:
        return OTHERS
    lines = int.from_bytes(call.data[36:68]) if call.data.startswith(_REDEEM) else 0
    return bound + lines * LINE + len(call.data) * BYTE


def asking(data: bytes) -> int:
    """Gas with which a contract wallet is asked alone, by a call with that data."""
    return 21_000 + len(data) * BYTE + WALLET
