"""Signatures of contract wallets (ERC-1271), which only the chain can judge."""

from __future__ import annotations

from services.kit.errors import unavailable
from services.ledger.chain import Chain, ChainUnavailable


def accepts(chain: Chain, address: str, digest: bytes, signature: bytes) -> bool:
    """Whether a contract at that address takes the signature over the 32 bytes; False where there is none.

    Waits for the node.  Raises `Fault` CHAIN_UNAVAILABLE when it does not answer: the signature may be good.
    """
    try:
        return chain.accepts_signature(address, digest, signature)
    except ChainUnavailable:
        raise unavailable(
            "CHAIN_UNAVAILABLE",
            f"the signature is not of the key of {address}; whether a contract wallet there takes it cannot be asked "
            "now, because the chain does not answer: try again, or sign with the account's key",
            retry_after=5,
        ) from None
