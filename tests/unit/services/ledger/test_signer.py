"""A signing service that errs, lies, or is not there."""

from __future__ import annotations

import socket

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from services.ledger.chain import Call
from services.ledger.signer import HALF_ORDER, RemoteSigner, SignerRefused, SignerUnavailable
from services.ledger.signing import Fees, sign
from tests.signing_service import honest, signing_service

ACCOUNT, OTHER = Account.from_key(b"\x01" * 32), Account.from_key(b"\x02" * 32)
ORDER = 2 * HALF_ORDER + 1


def signed_by(answer, address=ACCOUNT.address):
    with signing_service(answer) as url:
        signer = RemoteSigner(url, address, timeout=5)
        return sign(signer, Call("0x" + "5" * 40, b"x", 9), chain_id=1, nonce=4, gas=50_000, fees=Fees(8, 1))


def changed(**fields):
    """Signs another transaction than it was asked to."""

    def answer(method, params):
        return honest(ACCOUNT)(method, [{**params[0], **fields}])

    return answer


def as_another(method, params):
    return honest(OTHER)(method, [{**params[0], "from": OTHER.address}])


def with_the_higher_s(method, params):
    raw = honest(ACCOUNT)(method, params)["result"]
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    flipped = {**fields, "s": ORDER - fields["s"], "v": 1 - fields["v"]}
    return {"result": TypedTransaction.from_dict(flipped).encode().hex()}


def test_geths_form_of_the_answer_is_understood():
    def answer(method, params):
        return {"result": {"raw": honest(ACCOUNT)(method, params)["result"], "tx": {}}}

    assert signed_by(answer) == signed_by(honest(ACCOUNT))


@pytest.mark.parametrize(
    ("answer", "words"),
    (
        (changed(nonce="0x5"), "another transaction"),
        (changed(to="0x" + "6" * 40), "another transaction"),
        (changed(value="0xa"), "another transaction"),
        (changed(data="0x79"), "another transaction"),
        (changed(chainId="0x2"), "another transaction"),
        (changed(maxFeePerGas="0x9"), "another transaction"),
        (as_another, "signed as"),
        (with_the_higher_s, "higher s"),
        (lambda *_: {"result": "0x02c0"}, "no signed transaction"),
        (lambda *_: {"result": None}, "no signed transaction"),
        (lambda *_: {"error": {"code": -32000, "message": "not allowed by policy"}}, "not allowed by policy"),
        (lambda *_: {"error": "no"}, "refuses eth_signTransaction: no"),
        (lambda *_: b"[]", "neither yes nor why not"),
    ),
)
def test_what_is_not_that_transaction_by_that_account_is_not_taken(answer, words):
    with pytest.raises(SignerRefused, match=words):
        signed_by(answer)


def test_a_service_that_does_not_have_the_key_is_found_out_at_the_start():
    with signing_service(honest(ACCOUNT)) as url:
        RemoteSigner(url, ACCOUNT.address).check()
        with pytest.raises(SignerRefused, match=f"no key of {OTHER.address.lower()}"):
            RemoteSigner(url, OTHER.address).check()
    with signing_service(lambda *_: {"error": {"message": "the method does not exist"}}) as url:
        RemoteSigner(url, OTHER.address).check()  # it may still sign


def test_no_answer_is_told_without_the_password_of_the_url():
    with signing_service(lambda *_: b"<html>") as url, pytest.raises(SignerUnavailable):
        RemoteSigner(url, ACCOUNT.address).check()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"http://me:hunter2@127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(SignerUnavailable, match="does not answer") as caught:
            RemoteSigner(where, ACCOUNT.address, timeout=2).check()
    assert "hunter2" not in str(caught.value) + repr(RemoteSigner(where, ACCOUNT.address))
