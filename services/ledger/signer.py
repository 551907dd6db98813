"""The port to whoever holds the sender's key: in this process, or in a key service that never gives it out.

eth-account's own accounts implement it, so that a key from a file is a signer as it is.  `RemoteSigner` asks a signing
service by JSON-RPC, in the form (`eth_signTransaction`, `eth_accounts`) that Web3Signer and proxies before cloud KMSs
and HSMs speak.  It is believed in nothing: what it signed must be the transaction that was asked for, byte for byte, by
the account that was named.  What it does not know: what is signed, and when.
"""

from __future__ import annotations

from typing import Any, Protocol

import requests
from eth_account import Account
from eth_account.datastructures import SignedTransaction
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from openledger.claims import keccak
from openledger.names import address as lower
from services.ledger.chain import ChainError

TIMEOUT_SECONDS = 10.0
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Of secp256k1.  Chains take the lower of the two s that a signature can have (EIP-2)."""


class SignerUnavailable(ChainError):
    """The signing service does not answer.  Nothing was signed, as far as anybody will see: ask again."""


class SignerRefused(ChainError):
    """The signing service does not sign that, or signed something else."""


class Signer(Protocol):
    """Signs for one account."""

    @property
    def address(self) -> Any:
        """The account's, in hex."""
        ...

    def sign_transaction(self, transaction_dict: dict[str, Any], /) -> SignedTransaction:
        """The signed transaction (EIP-1559).  Raises `SignerUnavailable`, `SignerRefused`."""
        ...


class RemoteSigner:
    """Signs by a JSON-RPC service at `url`, whose name and password may be in it; they are in no text of ours."""

    def __init__(self, url: str, address: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._url, self.address, self._timeout = url, lower(address), timeout
        self._session = requests.Session()

    def check(self) -> None:
        """That the service answers, and has the account's key where it says which it has.

        Raises `SignerUnavailable`, `SignerRefused`.
        """
        try:
            accounts = self._call("eth_accounts")
        except SignerRefused:
            return  # not everybody tells
        if self.address not in {str(one).lower() for one in accounts}:
            raise SignerRefused(f"the signing service has no key of {self.address}")

    def sign_transaction(self, transaction_dict: dict[str, Any], /) -> SignedTransaction:
        """As the port says."""
        answer = self._call("eth_signTransaction", self._asked(transaction_dict))
        # geth's kind answers with an object, the others with the bytes alone.
        text = answer.get("raw") if isinstance(answer, dict) else answer
        try:
            raw = HexBytes(str(text))
            return _checked(raw, transaction_dict, self.address)
        except SignerRefused:
            raise
        except Exception as error:  # many kinds, of rlp, eth-account and eth-keys
            raise SignerRefused(f"the signing service's answer is no signed transaction: {error}") from error

    def __repr__(self) -> str:
        """Without the URL, which may hold a password."""
        return f"RemoteSigner({self.address})"

    def _asked(self, fields: dict[str, Any]) -> dict[str, str]:
        """The transaction as JSON-RPC wants it."""
        told = {name: value if isinstance(value, bytes) else hex(value) for name, value in fields.items()}
        hexed = {name: "0x" + value.hex() if isinstance(value, bytes) else value for name, value in told.items()}
        return {"from": self.address, **hexed}

    def _call(self, method: str, *params: Any) -> Any:
        body: Any = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            # One that answers an error of JSON-RPC may do so with any HTTP status.
            answer = self._session.post(self._url, json=body, timeout=self._timeout).json()
        except (requests.RequestException, ValueError) as error:
            raise SignerUnavailable(f"the signing service does not answer: {type(error).__name__}") from None
        if not isinstance(answer, dict) or "result" not in answer:
            found = answer.get("error") if isinstance(answer, dict) else None
            words = found.get("message") if isinstance(found, dict) else found
            raise SignerRefused(f"the signing service refuses {method}: {words or 'it says neither yes nor why not'}")
        return answer["result"]


def _checked(raw: bytes, fields: dict[str, Any], address: str) -> SignedTransaction:
    """What was signed, if it is that transaction by that account.  Raises `SignerRefused`, and what decoding does."""
    v, r, s = (int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()[part]) for part in "vrs")
    wanted = TypedTransaction.from_dict({**fields, "v": v, "r": r, "s": s}).encode()
    if wanted != raw:
        raise SignerRefused("the signing service signed another transaction than it was asked to")
    if s > HALF_ORDER:
        raise SignerRefused("the signing service's signature has the higher s, which no chain takes")
    signer = str(Account.recover_transaction(raw)).lower()
    if signer != address:
        raise SignerRefused(f"the signing service signed as {signer}, not as {address}")
    return SignedTransaction(HexBytes(raw), HexBytes(keccak(raw)), r, s, v)
