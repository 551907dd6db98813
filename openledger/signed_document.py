"""Signatures over JSON documents: EIP-191 over the SHA-256 of the canonical bytes without the field `signature`.

The document names its signer in the field `signer`, and is one with its signature: its SHA-256 covers both.  Knows
nothing of what documents mean, nor whose word counts.

The ledger reads signatures by `openledger.recover`; what verifies its epochs, by `openledger.epoch.documents`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct

from openledger import canonical

_SPELLING = re.compile(r"0x[0-9a-f]{64}([0-9a-f]{64})(?:1b|1c)\Z")
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of secp256k1: of the two signatures s and -s that say the same, the smaller is the one (EIP-2)."""


def sign(document: Mapping[str, Any], private_key: str) -> dict[str, Any]:
    """The document with `signer` and `signature` set, in place of those it has.  The same key gives the same bytes."""
    key = Account.from_key(private_key)
    named = {**document, "signer": key.address.lower()}
    signed = key.sign_message(_message(named))
    return {**named, "signature": "0x" + signed.signature.hex().removeprefix("0x")}


def check(document: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless the document is signed by the signer that it names.

    A signature has one spelling here: any other would make another document, with another SHA-256, that says the same.
    """
    spelling = _SPELLING.match(document["signature"])
    if spelling is None or int(spelling[1], 16) > _HALF_ORDER:
        raise ValueError(
            "the signature is not in its one spelling: 65 bytes r, s, v as lower-case hex, low s, v 27 or 28"
        )
    try:
        found = Account.recover_message(_message(document), signature=document["signature"]).lower()
    except Exception as error:  # eth-account raises many kinds for malformed signatures; all mean the same here
        raise ValueError(f"the signature cannot be read: {error}") from error
    if found != document["signer"]:
        raise ValueError(f"signed by {found}, not by {document['signer']}: it was changed after it was signed")


def _message(document: Mapping[str, Any]) -> Any:
    unsigned = {key: value for key, value in document.items() if key != "signature"}
    return encode_defunct(primitive=bytes.fromhex(canonical.digest(unsigned)))
