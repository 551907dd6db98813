"""Corrections: an operator's signed word that a journal is taken back, and why.  Pure.

Canonical JSON, signed as receipts are (`openledger.signed_document`).  It names the journal by its key, and the ledger
by its chain and distributor, so that it means one journal and no other.  What it does not know: who may sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openledger import canonical, names, signed_document
from openledger.recover import address_of, personal_digest

VERSION = "openledger.correction.v1"
MAX_REASON = 500
_FIELDS = frozenset({"version", "chain_id", "distributor", "journal", "reason", "signer", "signature"})


@dataclass(frozen=True)
class Correction:
    """What is taken back: `journal` is its key, such as "inference:responses/..."; addresses are lower-case."""

    chain_id: int
    distributor: str
    journal: str
    reason: str
    signer: str


def sign(chain_id: int, distributor: str, journal: str, reason: str, private_key: str) -> bytes:
    """The signed document.  The same words by the same key are the same bytes."""
    document = {
        "version": VERSION,
        "chain_id": str(chain_id),
        "distributor": names.address(distributor),
        "journal": journal,
        "reason": reason,
    }
    return canonical.dumps(signed_document.sign(document, private_key))


def parse(data: bytes) -> Correction:
    """The correction in a signed document.  Raises `ValueError` for what is none, or is not signed by its signer."""
    document = canonical.loads(data)
    if not isinstance(document, dict) or document.keys() != _FIELDS or document["version"] != VERSION:
        raise ValueError(f"not a correction: an object with the fields {', '.join(sorted(_FIELDS))} is one")
    if not all(isinstance(value, str) for value in document.values()):
        raise ValueError("every field of a correction is text")
    if not 0 < len(document["reason"].strip()) <= len(document["reason"]) <= MAX_REASON:
        raise ValueError(f"reason: says why, in at most {MAX_REASON} characters")
    if not document["chain_id"].isdecimal() or len(document["chain_id"]) > 20:
        raise ValueError("chain_id: is a whole number")
    _check_signature(document)
    at = names.address(document["distributor"])
    return Correction(int(document["chain_id"]), at, document["journal"], document["reason"], document["signer"])


def _check_signature(document: dict[str, Any]) -> None:
    """As strict as of receipts: 65 bytes in their one spelling."""
    unsigned = {key: value for key, value in document.items() if key != "signature"}
    text = document["signature"]
    try:
        signature = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        signature = b""
    found = address_of(personal_digest(bytes.fromhex(canonical.digest(unsigned))), signature)
    if text != f"0x{signature.hex()}" or found is None or found != document["signer"]:
        raise ValueError(f"signature: is not one of {document['signer'][:60]} over this document, in its one spelling")
