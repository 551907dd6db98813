"""Sign-in with Ethereum: writing and reading an EIP-4361 message.  Pure text; nonces and clocks are the issuer's.

Own code because the libraries for it pin older versions of eth-account.  Source: EIP-4361, ABNF section.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from eth_account import Account
from eth_account.messages import encode_defunct

_FORM = re.compile(
    r"(?P<domain>[^\s/?#]{1,255}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n\n"
    r"(?P<statement>[^\n]{1,500})\n\n"
    r"URI: (?P<uri>\S{1,500})\n"
    r"Version: 1\n"
    r"Chain ID: (?P<chain_id>[0-9]{1,20})\n"
    r"Nonce: (?P<nonce>[A-Za-z0-9]{8,64})\n"
    r"Issued At: (?P<issued_at>[0-9TZ:.+-]{20,35})\n"
    r"Expiration Time: (?P<expires_at>[0-9TZ:.+-]{20,35})\Z"
)


@dataclass(frozen=True)
class SignIn:
    """The fields of a sign-in message.  Times are aware, in UTC."""

    domain: str
    address: str
    statement: str
    uri: str
    chain_id: int
    nonce: str
    issued_at: datetime
    expires_at: datetime

    def text(self) -> str:
        """The message as wallets sign it."""
        return (
            f"{self.domain} wants you to sign in with your Ethereum account:\n{self.address}\n\n{self.statement}\n\n"
            f"URI: {self.uri}\nVersion: 1\nChain ID: {self.chain_id}\nNonce: {self.nonce}\n"
            f"Issued At: {_iso(self.issued_at)}\nExpiration Time: {_iso(self.expires_at)}"
        )


def parse(text: str) -> SignIn:
    """The fields of a message.  Raises `ValueError` unless it has exactly the form that `SignIn.text` writes."""
    match = _FORM.match(text)
    if not match:
        raise ValueError("not an EIP-4361 sign-in message")
    found = match.groupdict()
    message = SignIn(
        domain=found["domain"],
        address=found["address"],
        statement=found["statement"],
        uri=found["uri"],
        chain_id=int(found["chain_id"]),
        nonce=found["nonce"],
        issued_at=_moment(found["issued_at"]),
        expires_at=_moment(found["expires_at"]),
    )
    if message.text() != text:
        raise ValueError("not an EIP-4361 sign-in message in the form that was given out")
    return message


def sign(private_key: str, text: str) -> bytes:
    """EIP-191 signature of the message, 65 bytes."""
    return bytes(Account.from_key(private_key).sign_message(encode_defunct(text=text)).signature)


def recover(text: str, signature: bytes) -> str:
    """Lower-case address that signed the message.  Raises `ValueError` when the signature is malformed."""
    try:
        return str(Account.recover_message(encode_defunct(text=text), signature=signature)).lower()
    except Exception as error:  # eth-account raises many kinds for malformed signatures; all mean the same here
        raise ValueError(f"the signature cannot be read: {error}") from error


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:  # in UTC it is before the year 1, or after 9999
        raise ValueError(f"{text} is no time") from None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
