from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.datanet.checks.secrets import Secrets, find
from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy

A, D = "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGhIjKlMn", "0123456789" * 10
PHRASE = "legal winner thank year wave sausage worth useful legal winner thank yellow"
"""BIP 39's own test vector, of 16 bytes 7f."""

SECRETS = {
    "-----BEGIN RSA PRIVATE KEY-----": "private key",
    "-----BEGIN OPENSSH PRIVATE KEY-----": "private key",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----": "private key",
    "nsec1" + "q" * 58: "private key",
    "AKIA" + "IOSFODNN7EXAMPLE": "AWS key",
    "ghp_" + A[:36]: "GitHub token",
    "github_pat_" + A[:22] + "_" + D[:59]: "GitHub token",
    "glpat-" + A[:20]: "GitLab token",
    "xoxb-" + D[:12] + "-" + A[:24]: "Slack token",
    "AIza" + A[:35]: "Google key",
    "sk_live_" + A[:24]: "Stripe key",
    "sk-proj-" + A[:20] + D[:20]: "model provider's key",
    "hf_" + A[:34]: "Hugging Face token",
    "npm_" + A[:36]: "npm token",
    "pypi-AgEIcHlwaS5vcmc" + A + D[:20]: "PyPI token",
    "SG." + A[:22] + "." + A[:40] + D[:3]: "SendGrid key",
    "123456789:AA" + A[:33]: "Telegram token",
    "eyJ" + A + ".eyJ" + A + "." + A: "signed token",
    "postgres://ann:hunter2@db.example.org/x": "password in an address",
    "password: Tr0ub4dor&3": "password or key",
    "the API key is 9f8e7d6c5b4a3210": "password or key",
    "client_secret='a1B2c3D4e5'": "password or key",
    "my private key " + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318": "private key",
    "seed = 0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318": "private key",
    PHRASE: "recovery phrase",
    PHRASE.title(): "recovery phrase",
    " ".join(f"{n}. {word}" for n, word in enumerate(PHRASE.split(), start=1)): "recovery phrase",
    "amount amount " + PHRASE + " abandon": "recovery phrase",
}


@pytest.mark.parametrize(("said", "kind"), SECRETS.items(), ids=str)
def test_a_secret_is_found_wherever_it_stands(said, kind):
    assert kind in {span.kind for span in find(said)}
    assert kind in {span.kind for span in find(f"Look here: {said}\nand there.")}


@pytest.mark.parametrize(
    "said",
    (
        "",
        "The patient shows a sign of fever.",
        "-----BEGIN PUBLIC KEY-----",
        "Write your password: it must have eight letters.",
        "The secret is understanding what they want",
        "token: identifier",
        "the password is correcthorsebattery",
        "https://example.org:8080/path@home",
        "https://ann@example.org/",
        "postgresql://user:password@localhost/x, amqp://me:xxxx@host, https://me:<token>@host, ftp://me:${PW}@host",
        "block 0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318",
        "sk-learn is a library, and sk-something-else-without-any-number too",
        "task-based, risk-1234567890123456789AB",
        "They made about twelve cakes, and all people there ate",
        PHRASE.replace("yellow", "winner"),
        PHRASE.replace("sausage", "the"),
    ),
)
def test_what_only_speaks_of_secrets_is_none(said):
    assert find(said) == []


@pytest.mark.parametrize("policy", (Policy(), Policy(personal_data=PersonalData.MASK)))
def test_a_record_with_a_secret_is_refused_whatever_the_policy(policy):
    key = "ghp_" + A[:36]
    for draft in (Draft(0, {"body": f"see {key}"}), Draft(0, {"body": "see"}, source=key)):
        found = Secrets().look(draft, policy)
        assert (found.passed, found.reason) == (False, "SECRET")
        assert "GitHub token" in found.message
        assert key not in found.message
    assert Secrets().look(Draft(0, {"body": "see"}, source="hp.obo#1"), policy).passed


@given(st.text(max_size=300))
def test_any_text_is_read(said):
    assert all(0 <= span.start < span.end <= len(said.lower()) for span in find(said))


@pytest.mark.parametrize(
    "said", ("sk-" * 30_000, "eyJa-" * 20_000, "-----BEGIN A " * 8_000, "secret " * 15_000, "xox" * 30_000)
)
def test_a_text_made_to_take_long_does_not(said):
    assert find(said) == []
