"""Two readers of one kind of documents: what the ledger takes, the second implementation takes, and nothing else."""

from __future__ import annotations

import json

import pytest
from eth_account.account import Account
from eth_account.messages import encode_defunct
from eth_keys.backends import CoinCurveECCBackend, NativeECCBackend
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openledger import canonical, signed_document
from openledger.client import Wallet
from openledger.epoch import documents
from openledger.recover import address_of, personal_digest

WALLET = Wallet("0x" + "07" * 32)


def said(read, data: bytes) -> str:
    """What was read, types and order included; that it was refused, for whatever reason."""
    try:
        return repr(read(data))
    except ValueError:
        return "refused"


TEXTS = st.text(max_size=4) | st.sampled_from(("\ue000", "\U0001f600", "\x00", "\x7f", '"\\', "[{", "\u2028"))
NUMBERS = st.integers() | st.floats() | st.sampled_from((0.0, -0.0, 1e21, 1e-7, 2**53 - 1, 2**53, -(2**53), 5e-324))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


@given(VALUES)
def test_documents_are_written_alike(document):
    assert said(canonical.dumps, document) == said(documents.dumps, document)


@given(VALUES, st.booleans(), st.sampled_from((None, (",", ":"), (", ", ": "))))
def test_documents_are_read_alike_however_they_are_spelled(document, ascii_only, separators):
    data = json.dumps(document, ensure_ascii=ascii_only, separators=separators, sort_keys=True).encode()
    assert said(canonical.loads, data) == said(documents.loads, data)


WORDS = r'" \ [ ] { } , : "a" "a": "b":1 1 1.0 1e3 -0 0 NaN Infinity true null "\ud800" "\ud83d\ude00" 9007199254740993'
TOKENS = st.lists(st.sampled_from((*WORDS.split(), " ", "\ufeff", '"\ue000"', "9" * 5000)), max_size=12)


@given(TOKENS.map("".join).map(str.encode) | st.binary())
@example(b'{"a":1,"a":1}')
@example(b'{"a":1,"a":2}')
@example(b'["\\ud800"]')
@example(b'{"\\ud800":1}')
@example(b'{"\xed\xa0\x80":1}')
@example(b"[NaN]")
@example(b"[1.0]")
@example(b"[1e+30]")
@example(b"[-0]")
@example(b"[" + b"9" * 5000 + b"]")
def test_whatever_else_comes_is_read_alike(data):
    assert said(canonical.loads, data) == said(documents.loads, data)


@given(
    st.integers(60, 70),
    st.sampled_from(((b"[", b"]"), (b'{"a":', b"}"))),
    st.sampled_from((b'"[\\"{"', b'"\\\\"', b"1")),
)
def test_what_is_nested_is_read_alike_and_to_the_same_depth(depth, brackets, inside):
    begin, end = brackets
    data = begin * depth + inside + end * depth
    assert said(canonical.loads, data) == said(documents.loads, data)
    assert (said(documents.loads, data) == "refused") == (depth > documents.MAX_DEPTH)


def test_brackets_in_texts_and_side_by_side_are_no_nesting():
    document = {"text": "[" * 1000 + '\\"' + "{" * 1000, "list": [[] for _ in range(1000)]}
    assert documents.loads(canonical.dumps(document)) == document


@pytest.mark.parametrize("data", (b"[" * 1_000_000, b'{"a":' * 1_000_000))
def test_deep_nesting_is_an_error_and_not_the_end_of_the_process(data):
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        documents.parse(data)


@pytest.mark.parametrize("data", (b'{"a":1,"a":1}', b'[{"x":{"a":1,"b":2,"a":3}}]'))
def test_a_name_that_comes_twice_is_refused_before_anything_is_said_of_its_spelling(data):
    with pytest.raises(ValueError, match="twice"):
        documents.parse(data)


# --- signatures


def ledgers(document) -> bool:
    """As the ledger looks at it."""
    text = document["signature"]
    try:
        signature = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return False
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    found = address_of(personal_digest(bytes.fromhex(canonical.digest(unsigned))), signature)
    return text == f"0x{signature.hex()}" and found == document["signer"]


def ours(document) -> bool:
    try:
        documents.check_signature(document)
    except ValueError:
        return False
    return True


SIGNED = st.dictionaries(TEXTS, TEXTS, max_size=3).map(
    lambda document: signed_document.sign(document, WALLET.private_key)
)


@given(SIGNED)
def test_who_signed_is_found_alike(document):
    assert ours(document)
    assert ledgers(document)


@settings(max_examples=10)
@given(SIGNED)
def test_another_arithmetic_of_the_curve_finds_the_same_signer(document):
    """What reads signatures here and in the ledger has libsecp256k1 in common."""
    reader = Account()
    assert isinstance(reader._keys.backend, CoinCurveECCBackend)
    reader.set_key_backend(NativeECCBackend())
    signed = bytes.fromhex(canonical.digest({name: document[name] for name in document if name != "signature"}))
    found = reader.recover_message(encode_defunct(signed), signature=document["signature"])
    assert found.lower() == document["signer"]


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def mirrored(signature: bytes) -> bytes:
    """The other signature that says the same: n - s."""
    return signature[:32] + (ORDER - int.from_bytes(signature[32:64])).to_bytes(32) + bytes([55 - signature[64]])


CHANGES = {
    "r of nobody": lambda s: b"\xff" * 32 + s[32:],
    "no r": lambda s: bytes(32) + s[32:],
    "no s": lambda s: s[:32] + bytes(32) + s[64:],
    "the other s": mirrored,
    "s is half of the order": lambda s: s[:32] + (ORDER // 2).to_bytes(32) + s[64:],
    "s is just over half of the order": lambda s: s[:32] + (ORDER // 2 + 1).to_bytes(32) + s[64:],
    "another v": lambda s: s[:64] + bytes([55 - s[64]]),
    "v of before": lambda s: s[:64] + bytes([s[64] - 27]),
    "v of a chain": lambda s: s[:64] + b"\x25",
    "too short": lambda s: s[:64],
    "too long": lambda s: s + b"\0",
    "nothing": lambda s: b"",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_signature_is_refused_alike(name):
    document = signed_document.sign({"a": "1"}, WALLET.private_key)
    changed = document | {"signature": "0x" + CHANGES[name](bytes.fromhex(document["signature"][2:])).hex()}
    assert not ours(changed)
    assert not ledgers(changed)


@given(SIGNED, st.integers(2, 131), st.sampled_from("0123456789abcdefABCDEFx \n"))
def test_a_changed_digit_is_judged_alike(document, place, digit):
    text = document["signature"]
    changed = document | {"signature": text[:place] + digit + text[place + 1 :]}
    assert ours(changed) == ledgers(changed) == (changed == document)


@pytest.mark.parametrize(
    "change", ({"a": "2"}, {"more": "1"}, {"signer": "0x" + "1" * 40}, {"signer": WALLET.address.upper()})
)
def test_a_changed_document_is_refused_alike(change):
    document = signed_document.sign({"a": "1"}, WALLET.private_key) | change
    assert not ours(document)
    assert not ledgers(document)
