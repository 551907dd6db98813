"""What wallets sign: EIP-712 typed data for declarations, permits and spending authorisations.

One builder a message, returning the full typed-data object that any wallet can show and sign; `recover` gives the
address behind a signature.  Contract wallets (ERC-1271) need a chain and are checked by the contracts themselves.
"""

from __future__ import annotations

from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

DOMAIN = {"name": "OpenLedger", "version": "1"}

_DECLARATION = [
    {"name": "datanet", "type": "string"},
    {"name": "contributor", "type": "address"},
    {"name": "contentRoot", "type": "bytes32"},
    {"name": "recordCount", "type": "uint256"},
    {"name": "licence", "type": "string"},
    {"name": "statement", "type": "string"},
    {"name": "requestId", "type": "string"},
]
_SPENDING = [
    {"name": "payer", "type": "address"},
    {"name": "cap", "type": "uint256"},
    {"name": "deadline", "type": "uint256"},
]
_PERMIT = [
    {"name": "owner", "type": "address"},
    {"name": "spender", "type": "address"},
    {"name": "value", "type": "uint256"},
    {"name": "nonce", "type": "uint256"},
    {"name": "deadline", "type": "uint256"},
]
_DOMAIN_TYPES = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}

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
    return _typed("Declaration", _DECLARATION, DOMAIN, message)


def spending_authorisation(chain_id: int, escrow: str, payer: str, cap: int, deadline: int) -> dict[str, Any]:
    """How much of its deposit a payer allows to be spent in all; redeemed by `InferenceEscrow`."""
    domain = {"name": "OpenLedger InferenceEscrow", "version": "1", "chainId": chain_id, "verifyingContract": escrow}
    return _typed("SpendingAuthorisation", _SPENDING, domain, {"payer": payer, "cap": cap, "deadline": deadline})


def permit(
    token_name: str, chain_id: int, token: str, owner: str, spender: str, value: int, nonce: int, deadline: int
) -> dict[str, Any]:
    """ERC-2612 permit of `OpenToken`."""
    domain = {"name": token_name, "version": "1", "chainId": chain_id, "verifyingContract": token}
    message = {"owner": owner, "spender": spender, "value": value, "nonce": nonce, "deadline": deadline}
    return _typed("Permit", _PERMIT, domain, message)


def _typed(name: str, types: list[dict[str, str]], domain: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    domain_type = [{"name": key, "type": _DOMAIN_TYPES[key]} for key in domain]
    return {
        "types": {"EIP712Domain": domain_type, name: types},
        "primaryType": name,
        "domain": domain,
        "message": message,
    }


def sign(private_key: str, typed: dict[str, Any]) -> bytes:
    """65 bytes r, s, v (RFC 6979: the same message gives the same signature)."""
    return bytes(Account.from_key(private_key).sign_message(encode_typed_data(full_message=typed)).signature)


def recover(typed: dict[str, Any], signature: bytes) -> str:
    """Lower-case address that signed.  Raises `ValueError` when the signature is malformed."""
    try:
        return str(Account.recover_message(encode_typed_data(full_message=typed), signature=signature)).lower()
    except Exception as error:  # eth-account raises many kinds for malformed signatures; all mean the same here
        raise ValueError(f"the signature cannot be read: {error}") from error
