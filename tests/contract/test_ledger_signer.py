"""What every signer does: it signs the very transaction, for its account, and never shows the key."""

from __future__ import annotations

import json

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from pydantic import SecretStr

from openledger.claims import keccak
from services.ledger import keys
from services.ledger.chain import Call
from services.ledger.signer import RemoteSigner
from services.ledger.signing import Fees, sign, signed_terms
from tests import chains
from tests.needs import require
from tests.signing_service import honest, signing_service

# The first of the accounts that every anvil has.
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ACCOUNT = Account.from_key(KEY)
CALL, CREATION = Call("0x" + "5" * 40, b"\x00data", 7), Call(None, b"\x60\x00\x60\x00\xf3")


def secret(path, content):
    path.touch(0o600)
    path.write_text(content)
    return path


def keystore(folder, mode):
    """Weakly locked: how hard it is to open is none of our concern here."""
    path = secret(folder / "keystore.json", json.dumps(Account.encrypt(KEY, "correct horse", "pbkdf2", 10)))
    path.chmod(mode)
    return path


@pytest.fixture(params=("plain", "password file", "password", "service", "anvil"))
def signer(request, tmp_path):
    if request.param == "plain":
        yield keys.account(secret(tmp_path / "a.key", KEY + "\n"))
    elif request.param == "password file":
        told = secret(tmp_path / "password", "correct horse\n")
        yield keys.account(keystore(tmp_path, 0o644), keys.password(told, None))
    elif request.param == "password":
        yield keys.account(keystore(tmp_path, 0o600), keys.password(None, SecretStr("correct horse")))
    elif request.param == "service":
        with signing_service(honest(ACCOUNT)) as url:
            yield RemoteSigner(url, ACCOUNT.address)
    else:
        require("anvil")
        with chains.anvil() as url:
            yield RemoteSigner(url, ACCOUNT.address)


@pytest.mark.parametrize("call", (CALL, CREATION), ids=("call", "creation"))
def test_it_signs_that_very_transaction_for_its_account(signer, call):
    signed = sign(signer, call, chain_id=chains.CHAIN_ID, nonce=3, gas=90_000, fees=Fees(11, 2))
    assert Account.recover_transaction(signed.raw) == ACCOUNT.address
    assert signer.address.lower() == ACCOUNT.address.lower()
    assert signed_terms(signed.raw) == (90_000, Fees(11, 2))
    found = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
    assert (found["chainId"], found["nonce"], found["value"], bytes(found["data"])) == (31337, 3, call.value, call.data)
    assert bytes(found["to"]).hex() == (call.to or "0x")[2:]
    assert (signed.nonce, signed.hash) == (3, "0x" + keccak(signed.raw).hex())


def test_nothing_that_is_printed_of_it_has_the_key(signer):
    assert KEY[2:] not in repr(signer) + str(signer)
