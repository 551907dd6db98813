"""Wallet signatures: what was signed is recovered, and any change to it gives somebody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from openledger import signing, siwe
from openledger.client import Wallet

ALICE = Wallet("0x" + "11" * 32)


def _declaration(**change):
    words = {
        "datanet": "datanets/hpo",
        "contributor": ALICE.address,
        "content_root": b"\x01" * 32,
        "record_count": 3,
        "licence": "CC0-1.0",
        "statement": signing.STATEMENT,
        "request_id": "r",
    }
    return signing.declaration(**words | change)


def test_a_declaration_is_its_signers():
    assert signing.recover(_declaration(), ALICE.sign(_declaration())) == ALICE.address


@pytest.mark.parametrize(
    "change",
    (
        {"datanet": "datanets/other"},
        {"content_root": b"\x02" * 32},
        {"record_count": 4},
        {"licence": "MIT"},
        {"statement": "."},
        {"request_id": "s"},
    ),
)
def test_a_changed_declaration_is_not(change):
    assert signing.recover(_declaration(**change), ALICE.sign(_declaration())) != ALICE.address


@pytest.mark.parametrize("signature", (b"", b"\x00" * 65, b"\xff" * 65, b"x" * 64))
def test_a_malformed_signature_is_an_error_in_words(signature):
    with pytest.raises(ValueError, match="signature cannot be read"):
        signing.recover(_declaration(), signature)


def test_a_wallet_does_not_show_its_key():
    assert "11" * 8 not in repr(ALICE)


def _sign_in() -> siwe.SignIn:
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    return siwe.SignIn(
        "openledger.local",
        ALICE.address,
        "Sign in.",
        "https://openledger.local",
        1,
        "abcd1234",
        now,
        now + timedelta(1),
    )


def test_a_sign_in_message_survives_its_text():
    message = _sign_in()
    assert siwe.parse(message.text()) == message
    assert siwe.recover(message.text(), siwe.sign(ALICE.private_key, message.text())) == ALICE.address


@pytest.mark.parametrize(
    ("old", "new"),
    (("Version: 1", "Version: 2"), ("\n\nSign in.", "\n\nSign\nin."), ("Nonce: abcd1234", "Nonce: short"), ("Z", "")),
)
def test_another_form_of_message_is_refused(old, new):
    with pytest.raises(ValueError, match="EIP-4361"):
        siwe.parse(_sign_in().text().replace(old, new, 1) if old != "Z" else _sign_in().text() + "x")
