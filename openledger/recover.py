"""Whose key signed a digest: ECDSA over secp256k1, as strict as the contracts.  Pure.

What it does not know: what the digest is of, and contract wallets (ERC-1271).
"""

from __future__ import annotations

from coincurve import PublicKey

from openledger.claims import keccak

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of secp256k1: of the two signatures s and -s that say the same, the smaller is the one (EIP-2)."""


def address_of(digest: bytes, signature: bytes) -> str | None:
    """The lower-case address whose key signed the 32 bytes, or None for what is no signature in its one spelling.

    That is 65 bytes r, s, v with v 27 or 28 and s in the lower half of the curve's order: no contract takes another.
    """
    if len(signature) != 65 or signature[64] not in (27, 28) or int.from_bytes(signature[32:64]) > HALF_ORDER:
        return None
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes([signature[64] - 27]), digest, hasher=None)
    except Exception:  # noqa: BLE001 - coincurve raises bare Exceptions for r, s that belong to no key
        return None
    return "0x" + keccak(key.format(compressed=False)[1:])[12:].hex()


def personal_digest(message: bytes) -> bytes:
    """What a wallet signs for 32 bytes that are no typed data (EIP-191, `personal_sign`)."""
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)
