from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from openledger import siwe
from openledger.client import Wallet
from services.kit.auth import Authenticator
from services.kit.errors import Fault
from services.kit.testing import SECRET
from services.ledger import signin
from services.ledger.signin import Issuer, Site

SITE = Site("openledger.test", "https://openledger.test", 31337)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WALLET = Wallet("0x" + "11" * 32)
ISSUER = Issuer(Ed25519PrivateKey.from_private_bytes(b"k" * 32))


def given_out(**changes):
    message = signin.challenge(SITE, ISSUER, WALLET.address, NOW, 300)
    return siwe.SignIn(**vars(message) | changes)


def test_a_challenge_names_the_wallet_in_its_checksummed_form_and_ends():
    message = given_out()
    assert message.address != message.address.lower()
    assert message.address.lower() == WALLET.address
    assert message.expires_at - message.issued_at == timedelta(seconds=300)
    assert len(message.nonce) == 64
    assert signin.read(SITE, message.text()) == message


def test_no_two_challenges_have_the_same_nonce():
    assert len({given_out().nonce for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "change", ({"domain": "evil.test"}, {"uri": "https://evil.test"}, {"chain_id": 1}), ids=lambda c: next(iter(c))
)
def test_a_message_for_another_site_is_refused(change):
    with pytest.raises(Fault, match="is for") as caught:
        signin.read(SITE, given_out(**change).text())
    assert caught.value.reason == "BAD_SIGN_IN"


@pytest.mark.parametrize("text", ("", "hello", "x" * 4096, given_out().text() + "\n", given_out().text()[:-1]))
def test_a_text_that_is_no_message_is_refused(text):
    with pytest.raises(Fault) as caught:
        signin.read(SITE, text)
    assert caught.value.reason == "BAD_SIGN_IN"


def refusal(message, now=NOW, issuer=ISSUER) -> str:
    with pytest.raises(Fault) as caught:
        signin.check(issuer, message, now)
    return caught.value.reason


def test_a_message_passes_until_it_ends_wherever_the_key_is():
    message = given_out()
    replica = Issuer(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
    signin.check(replica, signin.read(SITE, message.text()), NOW + timedelta(seconds=299))
    assert refusal(message, NOW + timedelta(seconds=300)) == "CHALLENGE_EXPIRED"
    assert refusal(message, issuer=Issuer(Ed25519PrivateKey.generate())) == "BAD_SIGN_IN"


@pytest.mark.parametrize(
    "change",
    (
        {"address": "0x" + "22" * 20},
        {"statement": "Sign in, and give all away."},
        {"issued_at": NOW + timedelta(seconds=1)},
        {"expires_at": NOW + timedelta(days=365)},
        {"nonce": "f" * 64},
        {"nonce": "f" * 32},
        {"nonce": signin.challenge(SITE, ISSUER, "0x" + "22" * 20, NOW, 300).nonce},
    ),
)
def test_a_message_that_was_not_given_out_so_does_not_pass(change):
    assert refusal(given_out(**change)) == "BAD_SIGN_IN"


@pytest.mark.parametrize("moment", ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"))
def test_a_time_that_utc_does_not_know_is_refused(moment):
    message = given_out()
    for line in ("Issued At", "Expiration Time"):
        told = message.text().split(f"{line}: ")[1].splitlines()[0]
        with pytest.raises(Fault) as caught:
            signin.read(SITE, message.text().replace(f"{line}: {told}", f"{line}: {moment}"))
        assert caught.value.reason == "BAD_SIGN_IN"


def test_only_the_named_wallets_signature_counts():
    message = given_out()
    assert signin.signed_by(message, siwe.sign(WALLET.private_key, message.text()))
    assert not signin.signed_by(message, siwe.sign(Wallet.create().private_key, message.text()))
    assert not signin.signed_by(message, siwe.sign(WALLET.private_key, message.text() + " "))
    for nonsense in (b"", b"x" * 65, b"\0" * 65, b"x" * 4096):
        assert not signin.signed_by(message, nonsense)


async def test_a_session_is_accepted_by_every_service_until_it_ends():
    issuer = Issuer(Ed25519PrivateKey.generate())

    async def keys() -> str:
        return issuer.jwks

    authenticator = Authenticator(SECRET, keys)
    token = issuer.token(WALLET.address, datetime.now(UTC), 900)
    assert (await authenticator.authenticate(f"Bearer {token}")).address == WALLET.address
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["exp"] - claims["iat"]) == ("openledger", "accounts", 900)
    over = issuer.token(WALLET.address, datetime.now(UTC) - timedelta(seconds=1000), 900)
    with pytest.raises(Fault, match="sign in again"):
        await authenticator.authenticate(f"Bearer {over}")
    other = Issuer(Ed25519PrivateKey.generate()).token(WALLET.address, datetime.now(UTC), 900)
    with pytest.raises(Fault):
        await authenticator.authenticate(f"Bearer {other}")


def test_the_published_keys_hold_nothing_private():
    [key] = json.loads(Issuer(Ed25519PrivateKey.generate()).jwks)["keys"]
    assert set(key) == {"crv", "kty", "x", "kid", "alg", "use"}
