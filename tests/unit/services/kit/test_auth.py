from __future__ import annotations

import asyncio
import json
import time

import jwt
import pytest

from openledger.client import Wallet
from services.kit.auth import (
    ACCOUNTS,
    ANYONE,
    ISSUER,
    PUBLIC,
    SERVICE_AUDIENCE,
    Access,
    Authenticator,
    Principal,
    service_token,
    services,
)
from services.kit.errors import Fault
from services.kit.testing import SECRET, TestIssuer

ALICE = Wallet("0x" + "11" * 32)


class Keys:
    def __init__(self, issuer: TestIssuer) -> None:
        self.issuer, self.fetched = issuer, 0

    async def __call__(self) -> str:
        self.fetched += 1
        return self.issuer.jwks


@pytest.fixture
def keys():
    return Keys(TestIssuer())


async def reason(authenticator: Authenticator, authorization: str) -> str:
    with pytest.raises(Fault) as caught:
        await authenticator.authenticate(authorization)
    return caught.value.reason


async def test_an_account_is_known_by_its_token_and_keys_are_fetched_once(keys):
    authenticator = Authenticator(SECRET, keys)
    for _ in range(3):
        principal = await authenticator.authenticate(f"Bearer {keys.issuer.token(ALICE)}")
        assert principal == Principal(address=ALICE.address)
    assert keys.fetched == 1


async def test_a_service_is_known_without_asking_anyone(keys):
    principal = await Authenticator(SECRET, keys).authenticate(f"Bearer {service_token(SECRET, 'factory')}")
    assert principal == Principal(service="factory")
    assert keys.fetched == 0


async def test_while_the_secret_is_changed_services_with_either_are_known_and_none_with_a_third(keys):
    old, new = "o" * 32, "n" * 32
    for mine, also in ((old, new), (new, old)):
        authenticator = Authenticator(mine, keys, also)
        for theirs in (old, new):
            principal = await authenticator.authenticate(f"Bearer {service_token(theirs, 'factory')}")
            assert principal == Principal(service="factory")
        assert await reason(authenticator, f"Bearer {service_token('t' * 32, 'factory')}") == "BAD_TOKEN"
    assert await reason(Authenticator(new, keys), f"Bearer {service_token(old, 'factory')}") == "BAD_TOKEN"
    with pytest.raises(ValueError, match="32 characters"):
        Authenticator(new, keys, "short")


async def test_a_token_that_is_over_is_over_under_either_secret(keys, monkeypatch):
    old, new = "o" * 32, "n" * 32
    with monkeypatch.context() as then:
        then.setattr(time, "time", lambda: 1_000_000_000)
        tokens = [service_token(secret, "factory") for secret in (old, new)]
    for token in tokens:
        assert await reason(Authenticator(new, keys, old), f"Bearer {token}") == "TOKEN_EXPIRED"


async def test_nobody_is_anyone(keys):
    assert await Authenticator(SECRET, keys).authenticate("") == ANYONE


async def test_tokens_that_are_over_say_so(keys):
    assert await reason(Authenticator(SECRET, keys), f"Bearer {keys.issuer.token(ALICE, -1)}") == "TOKEN_EXPIRED"


async def test_tokens_of_another_issuer_are_refused(keys):
    forged = TestIssuer().token(ALICE)
    assert await reason(Authenticator(SECRET, keys), f"Bearer {forged}") == "BAD_TOKEN"


async def test_a_public_key_is_no_shared_secret(keys):
    # The old trick: sign with HS256 and the issuer's public key as the secret.
    public = json.loads(keys.issuer.jwks)["keys"][0]["x"]
    claims = {"iss": "openledger", "aud": "accounts", "sub": ALICE.address, "exp": 2**33}
    forged = jwt.encode(claims, public, algorithm="HS256", headers={"kid": "test"})
    assert await reason(Authenticator(SECRET, keys), f"Bearer {forged}") == "BAD_TOKEN"


async def test_an_account_token_does_not_make_a_service_nor_the_other_way_round(keys):
    claims = {"iss": "openledger", "aud": "accounts", "sub": "ledger", "exp": 2**33}
    crossed = jwt.encode(claims, SECRET, algorithm="HS256")
    assert await reason(Authenticator(SECRET, keys), f"Bearer {crossed}") == "BAD_TOKEN"


@pytest.mark.parametrize("authorization", ("Bearer", "Bearer ", "Basic abc", "Bearer a.b.c", "Bearer " + "x" * 10_000))
async def test_what_is_no_token_is_refused(keys, authorization):
    assert await reason(Authenticator(SECRET, keys), authorization) == "BAD_TOKEN"


async def test_unknown_key_ids_do_not_make_us_ask_the_issuer_each_time(keys):
    authenticator = Authenticator(SECRET, keys)
    stranger = jwt.encode({"sub": "x"}, keys.issuer._key, algorithm="EdDSA", headers={"kid": "other"})
    for _ in range(10):
        assert await reason(authenticator, f"Bearer {stranger}") == "BAD_TOKEN"
    assert keys.fetched == 1


async def test_callers_at_once_wait_for_one_fetch(keys):
    async def slow() -> str:
        await asyncio.sleep(0.05)
        return await keys()

    authenticator = Authenticator(SECRET, slow)
    tokens = [f"Bearer {keys.issuer.token(ALICE)}"] * 20
    callers = await asyncio.gather(*(authenticator.authenticate(token) for token in tokens))
    assert set(callers) == {Principal(address=ALICE.address)}
    assert keys.fetched == 1


async def test_a_caller_who_leaves_during_the_fetch_leaves_the_keys_to_the_next(keys):
    async def slow() -> str:
        await asyncio.sleep(0.05)
        return await keys()

    authenticator = Authenticator(SECRET, slow)
    authorization = f"Bearer {keys.issuer.token(ALICE)}"
    leaving, waiting = (asyncio.create_task(authenticator.authenticate(authorization)) for _ in range(2))
    await asyncio.sleep(0.01)
    leaving.cancel()
    assert await waiting == Principal(address=ALICE.address)
    assert keys.fetched == 1


async def test_who_leaves_at_once_over_and_over_has_the_keys_fetched_once(keys):
    async def slow() -> str:
        await asyncio.sleep(0.05)
        return await keys()

    started = 0

    async def counted() -> str:
        nonlocal started
        started += 1
        return await slow()

    authenticator = Authenticator(SECRET, counted)
    forged = jwt.encode({"iss": ISSUER}, "k" * 64, algorithm="HS512", headers={"kid": "nobody's"})
    for _ in range(10):
        leaving = asyncio.create_task(authenticator.authenticate(f"Bearer {forged}"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    assert await authenticator.authenticate(f"Bearer {keys.issuer.token(ALICE)}") == Principal(address=ALICE.address)
    assert started == 1


async def test_while_the_issuer_is_away_known_keys_go_on_and_unknown_ones_may_come_again(keys, monkeypatch):
    authenticator = Authenticator(SECRET, keys)
    await authenticator.authenticate(f"Bearer {keys.issuer.token(ALICE)}")

    async def away() -> str:
        raise OSError("connection refused")

    monkeypatch.setattr(authenticator, "_fetch", away)
    authenticator._fetched = authenticator._tried = float("-inf")
    assert await authenticator.authenticate(f"Bearer {keys.issuer.token(ALICE)}") == Principal(address=ALICE.address)
    fresh = Authenticator(SECRET, away)
    assert await reason(fresh, f"Bearer {keys.issuer.token(ALICE)}") == "IDENTITY_UNAVAILABLE"
    assert await reason(fresh, f"Bearer {keys.issuer.token(ALICE)}") == "IDENTITY_UNAVAILABLE"


@pytest.mark.parametrize("missing", ("exp", "sub", "aud", "iss"))
async def test_a_token_that_lacks_a_bound_is_none(keys, missing):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": SERVICE_AUDIENCE, "sub": "openlora", "iat": now, "exp": now + 60}
    del claims[missing]
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    assert await reason(Authenticator(SECRET, keys), f"Bearer {token}") == "BAD_TOKEN"


def test_a_short_secret_is_refused(keys):
    with pytest.raises(ValueError, match="32 characters"):
        Authenticator("short", keys)


@pytest.mark.parametrize(
    ("access", "principal", "allowed"),
    (
        (PUBLIC, ANYONE, True),
        (ACCOUNTS, ANYONE, False),
        (ACCOUNTS, Principal(address="0x1"), True),
        (ACCOUNTS, Principal(service="ledger"), False),
        (services("ledger"), Principal(service="ledger"), True),
        (services("ledger"), Principal(service="factory"), False),
        (services("ledger"), Principal(address="0x1"), False),
        (services("ledger", accounts=True), Principal(address="0x1"), True),
        (Access(), Principal(service="ledger"), False),
        (Access(), ANYONE, False),
    ),
)
def test_access(access, principal, allowed):
    if allowed:
        access.check(principal)
        return
    with pytest.raises(Fault) as caught:
        access.check(principal)
    assert caught.value.reason == ("SIGN_IN" if principal == ANYONE else "NOT_FOR_THIS_CALLER")
