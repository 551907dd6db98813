"""What payers and earners sign: the vectors shared with Solidity, and that every field counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from openledger.recover import HALF_ORDER
from openledger.spending import (
    SignedClaim,
    SpendingAuthorisation,
    Transfer,
    authorisation_digest,
    authorisation_message,
    authorised_by,
    claim_message,
    digest,
    open_transfer_message,
    permit_message,
    sign,
    signer,
    transfer_message,
)

VECTORS = json.loads((Path(__file__).parents[3] / "contracts" / "vectors" / "signatures.json").read_text())
KEY = b"\x01" * 32
PAYER = Account.from_key(KEY).address.lower()
ESCROW, OTHER = "0x" + "e5" * 20, "0x" + "e6" * 20
AUTHORISATION = SpendingAuthorisation(PAYER, 25 * 10**18, 2_000_000_000)


@pytest.mark.parametrize("vector", VECTORS["authorisations"], ids=lambda vector: vector["cap"])
def test_authorisation_vectors(vector: dict[str, str]) -> None:
    authorisation = SpendingAuthorisation(vector["payer"], int(vector["cap"]), int(vector["deadline"]))
    message = authorisation_message(VECTORS["chain_id"], VECTORS["escrow"], authorisation)
    assert "0x" + digest(message).hex() == vector["digest"]
    signature = bytes.fromhex(vector["signature"][2:])
    assert signer(message, signature) == vector["payer"]
    assert authorised_by(VECTORS["chain_id"], VECTORS["escrow"], authorisation, signature) == vector["payer"]


@pytest.mark.parametrize("vector", VECTORS["permits"], ids=lambda vector: vector["value"])
def test_permit_vectors(vector: dict[str, str]) -> None:
    message = permit_message(
        VECTORS["chain_id"],
        VECTORS["token"],
        owner=vector["owner"],
        spender=VECTORS["escrow"],
        value=int(vector["value"]),
        nonce=0,
        deadline=int(vector["deadline"]),
    )
    assert "0x" + digest(message).hex() == vector["digest"]
    assert signer(message, bytes.fromhex(vector["signature"][2:])) == vector["owner"]


@pytest.mark.parametrize("vector", VECTORS["claims"], ids=lambda vector: vector["cumulative"])
def test_claim_vectors(vector: dict[str, str]) -> None:
    numbers = (int(vector[field]) for field in ("cumulative", "max_fee", "deadline"))
    message = claim_message(
        VECTORS["chain_id"], VECTORS["distributor"], SignedClaim(vector["account"], vector["to"], *numbers)
    )
    assert "0x" + digest(message).hex() == vector["digest"]
    assert signer(message, bytes.fromhex(vector["signature"][2:])) == vector["account"]


@pytest.mark.parametrize(
    "other",
    (
        authorisation_message(2, ESCROW, AUTHORISATION),
        authorisation_message(1, OTHER, AUTHORISATION),
        authorisation_message(1, ESCROW, replace(AUTHORISATION, payer=OTHER)),
        authorisation_message(1, ESCROW, replace(AUTHORISATION, cap=AUTHORISATION.cap + 1)),
        authorisation_message(1, ESCROW, replace(AUTHORISATION, deadline=AUTHORISATION.deadline + 1)),
    ),
    ids=("chain", "escrow", "payer", "cap", "deadline"),
)
def test_every_field_is_signed(other: dict[str, object]) -> None:
    message = authorisation_message(1, ESCROW, AUTHORISATION)
    assert signer(message, sign(message, KEY)) == PAYER
    assert signer(other, sign(message, KEY)) != PAYER


CLAIM = SignedClaim(PAYER, ESCROW, 5, 1, 2_000_000_000)


@pytest.mark.parametrize(
    "other",
    (
        claim_message(2, ESCROW, CLAIM),
        claim_message(1, OTHER, CLAIM),
        claim_message(1, ESCROW, replace(CLAIM, account=OTHER)),
        claim_message(1, ESCROW, replace(CLAIM, to=OTHER)),
        claim_message(1, ESCROW, replace(CLAIM, cumulative=6)),
        claim_message(1, ESCROW, replace(CLAIM, max_fee=2)),
        claim_message(1, ESCROW, replace(CLAIM, deadline=CLAIM.deadline + 1)),
    ),
    ids=("chain", "distributor", "account", "to", "cumulative", "max_fee", "deadline"),
)
def test_every_field_of_a_claim_is_signed(other: dict[str, object]) -> None:
    message = claim_message(1, ESCROW, CLAIM)
    assert signer(message, sign(message, KEY)) == PAYER
    assert signer(other, sign(message, KEY)) != PAYER


TRANSFER = Transfer(PAYER, ESCROW, 5, 1, 2_000_000_000, b"n" * 32)


@pytest.mark.parametrize(
    "other",
    (
        transfer_message(1, ESCROW, TRANSFER),
        open_transfer_message(2, ESCROW, TRANSFER),
        open_transfer_message(1, OTHER, TRANSFER),
        open_transfer_message(1, ESCROW, replace(TRANSFER, payer=OTHER)),
        open_transfer_message(1, ESCROW, replace(TRANSFER, to=OTHER)),
        open_transfer_message(1, ESCROW, replace(TRANSFER, amount=6)),
        open_transfer_message(1, ESCROW, replace(TRANSFER, valid_after=2)),
        open_transfer_message(1, ESCROW, replace(TRANSFER, valid_before=TRANSFER.valid_before + 1)),
        open_transfer_message(1, ESCROW, replace(TRANSFER, nonce=b"m" * 32)),
    ),
    ids=("kind", "chain", "token", "payer", "to", "amount", "valid_after", "valid_before", "nonce"),
)
def test_every_field_of_a_transfer_is_signed(other: dict[str, object]) -> None:
    message = open_transfer_message(1, ESCROW, TRANSFER)
    assert signer(message, sign(message, KEY)) == PAYER
    assert signer(other, sign(message, KEY)) != PAYER


def test_signatures_that_the_contracts_refuse_are_refused_here() -> None:
    message = authorisation_message(1, ESCROW, AUTHORISATION)
    signature = sign(message, KEY)
    order = 2 * HALF_ORDER + 1
    mirrored = order - int.from_bytes(signature[32:64])
    assert signer(message, signature) == PAYER
    assert signer(message, signature[:32] + mirrored.to_bytes(32) + bytes([55 - signature[64]])) is None
    assert signer(message, signature[:64] + bytes([signature[64] - 27])) is None
    assert signer(message, signature[:64]) is None
    assert signer(message, signature + b"\0") is None


@given(st.binary(max_size=70) | st.binary(min_size=64, max_size=64).map(lambda rs: rs + b"\x1b"))
def test_arbitrary_bytes_are_never_the_payers_signature(signature: bytes) -> None:
    assert signer(authorisation_message(1, ESCROW, AUTHORISATION), signature) != PAYER


@given(
    chain=st.integers(1, 2**256 - 1),
    escrow=st.binary(min_size=20, max_size=20),
    payer=st.binary(min_size=20, max_size=20),
    cap=st.integers(0, 2**256 - 1),
    deadline=st.integers(0, 2**256 - 1),
)
def test_the_short_way_to_an_authorisations_digest_is_the_long_one(chain, escrow, payer, cap, deadline) -> None:
    authorisation = SpendingAuthorisation("0x" + payer.hex(), cap, deadline)
    at = "0x" + escrow.hex()
    assert authorisation_digest(chain, at, authorisation) == digest(authorisation_message(chain, at, authorisation))


def test_signing_is_deterministic() -> None:
    message = authorisation_message(1, ESCROW, AUTHORISATION)
    assert sign(message, KEY) == sign(message, KEY)
