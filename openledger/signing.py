"""What contributors sign: EIP-712 typed data for declarations (what payers sign is in `spending`).

The builder returns the full typed-data object that any wallet can show and sign; `recover` gives the address behind a
signature.  Contract wallets (ERC-1271) need a chain and are not known here.
"""

from __future__ import annotations

from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

DOMAIN = {"name": "OpenLedger", "version": "1"}

_DOMAIN_TYPE = [{"name": "name", "type": "string"}, {"name": "version", "type": "string"}]

_DECLARATION = [
    {"name": "datanet", "type": "string"},
    {"name": "contributor", "type": "address"},
    {"name": "contentRoot", "type": "bytes32"},
    {"name": "recordCount", "type": "uint256"},
    {"name": "licence", "type": "string"},
    {"name": "statement", "type": "string"},
    {"name": "requestId", "type": "string"},
]

STATEMENT = "I made this, or have the right to give it under the licence named here, and I want to be paid for its use."


def declaration(
    datanet: str,
    contributor: str,
    content_root: bytes,
    record_count: int,
    licence: str,
    statement: str,
    request_id: str,
) -> dict[str, Any]:
    """A contributor's word about an upload.  Needs no chain: records belong to people, not to a chain."""
    message = {
        "datanet": datanet,
        "contributor": contributor,
        "contentRoot": content_root,
        "recordCount": record_count,
        "licence": licence,
        "statement": statement,
        "requestId": request_id,
    }
    types = {"EIP712Domain": _DOMAIN_TYPE, "Declaration": _DECLARATION}
    return {"types": types, "primaryType": "Declaration", "domain": DOMAIN, "message": message}


def sign(private_key: str, typed: dict[str, Any]) -> bytes:
    """65 bytes r, s, v (RFC 6979: the same message gives the same signature)."""
    return bytes(Account.from_key(private_key).sign_message(encode_typed_data(full_message=typed)).signature)


def recover(typed: dict[str, Any], signature: bytes) -> str:
    """Lower-case address that signed.  Raises `ValueError` when the signature is malformed."""
    try:
        return str(Account.recover_message(encode_typed_data(full_message=typed), signature=signature)).lower()
    except Exception as error:  # eth-account raises many kinds for malformed signatures; all mean the same here
        raise ValueError(f"the signature cannot be read: {error}") from error
