"""What payers and earners sign, as typed data.

A payer: the EIP-712 spending authorisation for the escrow, and for a deposit the EIP-2612 permit or the ERC-3009
transfer. An earner: the EIP-712 claim that is paid elsewhere than to the account itself, and the ERC-3009 transfer of
what was claimed to it.

Pure: typed data in, digests and addresses out, so that a wallet, the ledger and an auditor agree on the bytes.
What it does not know: balances, what was spent, and contract wallets (ERC-1271), whose signatures only the chain can
judge.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data

from openledger.claims import address_bytes, keccak
from openledger.recover import address_of

ESCROW_DOMAIN_NAME = "OpenLedger InferenceEscrow"
DISTRIBUTOR_DOMAIN_NAME = "OpenLedger RewardsDistributor"
OPEN_DOMAIN_NAME = "OpenLedger"
DOMAIN_VERSION = "1"


@dataclass(frozen=True, slots=True)
class SpendingAuthorisation:
    """Leave to spend at most `cap` atomic units in all, ever, redeemed on chain by `deadline` (Unix seconds).

    A later authorisation with a higher cap replaces it; spending counts on.
    """

    payer: str
    cap: int
    deadline: int


@dataclass(frozen=True, slots=True)
class SignedClaim:
    """Leave to pay `to` what `account` has earned up to `cumulative` atomic units, by `deadline` (Unix seconds).

    Whoever sends it may keep `max_fee` of it. Used up once the account was paid `cumulative`, in whatever way.
    """

    account: str
    to: str
    cumulative: int
    max_fee: int
    deadline: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """Leave for `to` to take `amount` atomic units of `payer`'s OPEN once, after one time and before another (Unix s).

    `nonce`: 32 bytes of the payer's choosing, each good once; so nothing has to be asked of the chain to sign it.
    """

    payer: str
    to: str
    amount: int
    valid_after: int
    valid_before: int
    nonce: bytes


def authorisation_message(chain_id: int, escrow: str, authorisation: SpendingAuthorisation) -> dict[str, Any]:
    """The typed data (eth_signTypedData_v4) that the payer's wallet shows and signs."""
    return {
        "types": {
            "EIP712Domain": _DOMAIN_TYPE,
            "SpendingAuthorisation": [
                {"name": "payer", "type": "address"},
                {"name": "cap", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ],
        },
        "primaryType": "SpendingAuthorisation",
        "domain": _domain(ESCROW_DOMAIN_NAME, chain_id, escrow),
        "message": {
            "payer": authorisation.payer,
            "cap": authorisation.cap,
            "deadline": authorisation.deadline,
        },
    }


def claim_message(chain_id: int, distributor: str, claim: SignedClaim) -> dict[str, Any]:
    """The typed data that the earner's wallet shows and signs, for `RewardsDistributor.claimWithSig`."""
    return {
        "types": {
            "EIP712Domain": _DOMAIN_TYPE,
            "ClaimTo": [
                {"name": "account", "type": "address"},
                {"name": "to", "type": "address"},
                {"name": "cumulative", "type": "uint256"},
                {"name": "maxFee", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ],
        },
        "primaryType": "ClaimTo",
        "domain": _domain(DISTRIBUTOR_DOMAIN_NAME, chain_id, distributor),
        "message": {
            "account": claim.account,
            "to": claim.to,
            "cumulative": claim.cumulative,
            "maxFee": claim.max_fee,
            "deadline": claim.deadline,
        },
    }


def permit_message(
    chain_id: int, token: str, *, owner: str, spender: str, value: int, nonce: int, deadline: int
) -> dict[str, Any]:
    """The typed data of an EIP-2612 permit: `spender` may take `value` atomic units of `owner`'s OPEN.

    nonce: the token's `nonces(owner)`. deadline: Unix seconds.
    """
    return {
        "types": {
            "EIP712Domain": _DOMAIN_TYPE,
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ],
        },
        "primaryType": "Permit",
        "domain": _domain(OPEN_DOMAIN_NAME, chain_id, token),
        "message": {"owner": owner, "spender": spender, "value": value, "nonce": nonce, "deadline": deadline},
    }


def transfer_message(chain_id: int, token: str, transfer: Transfer) -> dict[str, Any]:
    """The typed data of ERC-3009 `ReceiveWithAuthorization`, which nobody but `to` can use."""
    return _transfer_message("ReceiveWithAuthorization", chain_id, token, transfer)


def open_transfer_message(chain_id: int, token: str, transfer: Transfer) -> dict[str, Any]:
    """The typed data of ERC-3009 `TransferWithAuthorization`, which anybody can send."""
    return _transfer_message("TransferWithAuthorization", chain_id, token, transfer)


def _transfer_message(kind: str, chain_id: int, token: str, transfer: Transfer) -> dict[str, Any]:
    return {
        "types": {
            "EIP712Domain": _DOMAIN_TYPE,
            kind: [
                {"name": "from", "type": "address"},
                {"name": "to", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "validAfter", "type": "uint256"},
                {"name": "validBefore", "type": "uint256"},
                {"name": "nonce", "type": "bytes32"},
            ],
        },
        "primaryType": kind,
        "domain": _domain(OPEN_DOMAIN_NAME, chain_id, token),
        "message": {
            "from": transfer.payer,
            "to": transfer.to,
            "value": transfer.amount,
            "validAfter": transfer.valid_after,
            "validBefore": transfer.valid_before,
            "nonce": transfer.nonce,
        },
    }


def digest(message: dict[str, Any]) -> bytes:
    """The 32 bytes that are signed for a typed-data message."""
    signable = _signable(message)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


def sign(message: dict[str, Any], private_key: bytes | str) -> bytes:
    """A 65-byte signature (r, s, v) over a typed-data message. Deterministic (RFC 6979)."""
    return bytes(Account.sign_message(_signable(message), private_key).signature)


def signer(message: dict[str, Any], signature: bytes) -> str | None:
    """The lower-case address whose key signed the message, or None if no contract would take the signature.

    What is looser (see `openledger.recover`) would be accepted here and fail when it is redeemed.
    """
    return address_of(digest(message), signature)


def authorisation_digest(chain_id: int, escrow: str, authorisation: SpendingAuthorisation) -> bytes:
    """`digest` of `authorisation_message`, without the message: what is checked for every answer must not cost one."""
    fields = keccak(
        _AUTHORISATION_TYPE_HASH
        + address_bytes(authorisation.payer).rjust(32, b"\0")
        + authorisation.cap.to_bytes(32)
        + authorisation.deadline.to_bytes(32)
    )
    return keccak(b"\x19\x01" + _domain_separator(ESCROW_DOMAIN_NAME, chain_id, escrow) + fields)


def authorised_by(chain_id: int, escrow: str, authorisation: SpendingAuthorisation, signature: bytes) -> str | None:
    """The lower-case address whose key signed the authorisation, or None as in `signer`."""
    return address_of(authorisation_digest(chain_id, escrow, authorisation), signature)


_AUTHORISATION_TYPE_HASH = keccak(b"SpendingAuthorisation(address payer,uint256 cap,uint256 deadline)")
_DOMAIN_TYPE_HASH = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")


@lru_cache(maxsize=64)
def _domain_separator(name: str, chain_id: int, contract: str) -> bytes:
    words = (keccak(name.encode()), keccak(DOMAIN_VERSION.encode()), chain_id.to_bytes(32))
    return keccak(_DOMAIN_TYPE_HASH + b"".join(words) + address_bytes(contract).rjust(32, b"\0"))


_DOMAIN_TYPE = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


def _domain(name: str, chain_id: int, contract: str) -> dict[str, Any]:
    return {"name": name, "version": DOMAIN_VERSION, "chainId": chain_id, "verifyingContract": contract}


def _signable(message: dict[str, Any]) -> SignableMessage:
    return encode_typed_data(full_message=message)
