"""Whose key signed, beside eth-account's answer."""

from __future__ import annotations

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st

from openledger.recover import HALF_ORDER, address_of, personal_digest

KEY = b"\x07" * 32
OWNER = Account.from_key(KEY).address.lower()
ORDER = 2 * HALF_ORDER + 1


@given(message=st.binary(max_size=100), key=st.integers(1, ORDER - 1))
def test_a_wallets_signature_gives_the_wallets_address(message: bytes, key: int) -> None:
    account = Account.from_key(key.to_bytes(32))
    signature = bytes(account.sign_message(encode_defunct(primitive=message)).signature)
    assert address_of(personal_digest(message), signature) == account.address.lower()


@given(digest=st.binary(min_size=32, max_size=32), rs=st.binary(min_size=64, max_size=64), v=st.sampled_from((27, 28)))
def test_any_bytes_give_what_eth_account_makes_of_them_or_nothing(digest: bytes, rs: bytes, v: int) -> None:
    found = address_of(digest, rs + bytes([v]))
    if int.from_bytes(rs[32:]) > HALF_ORDER:
        assert found is None
        return
    try:
        expected = Account._recover_hash(digest, signature=rs + bytes([v])).lower()
    except Exception:  # noqa: BLE001 - of many kinds
        expected = None
    assert found == expected


@pytest.mark.parametrize("r", (0, ORDER, 2**256 - 1))
@pytest.mark.parametrize("s", (0, 1, HALF_ORDER))
def test_numbers_off_the_curve_are_nobodys(r: int, s: int) -> None:
    assert address_of(b"\x01" * 32, r.to_bytes(32) + s.to_bytes(32) + b"\x1b") is None


def test_a_signature_has_one_spelling() -> None:
    digest = personal_digest(b"words")
    signature = bytes(Account.sign_message(encode_defunct(primitive=b"words"), KEY).signature)
    mirrored = (ORDER - int.from_bytes(signature[32:64])).to_bytes(32)
    assert address_of(digest, signature) == OWNER
    for other in (
        signature[:32] + mirrored + bytes([55 - signature[64]]),
        signature[:64] + bytes([signature[64] - 27]),
        signature[:64],
        signature + b"\0",
        b"",
    ):
        assert address_of(digest, other) is None
