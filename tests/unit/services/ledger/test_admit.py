from __future__ import annotations

import json

import pytest

from openledger import canonical, receipt
from openledger.client import Wallet
from openledger.split import Rule
from services.ledger.admit import Admitted, Rejected, Terms, admit
from tests.ledger_world import PLATFORM, SIGNER, a_receipt

TERMS = Terms(frozenset({SIGNER.address}), Rule(), PLATFORM.address)
PAYER = Wallet("0x" + "77" * 32)


def good():
    return a_receipt(PAYER, "leases/1", 10**18)


def test_a_good_receipt_is_admitted_under_the_digest_of_its_bytes():
    document = good().dumps()
    found = admit(document, TERMS)
    assert isinstance(found, Admitted)
    assert (found.sha256, found.document) == (canonical.sha256(document), document)


@pytest.mark.parametrize("document", (b"", b"\xff", b"[]", b"null", b'{"version":1}', b"[" * 100_000, b"{}"))
def test_what_is_no_receipt_is_rejected_not_raised(document):
    found = admit(document, TERMS)
    assert isinstance(found, Rejected)
    assert (found.reason, found.document) == ("UNREADABLE", document)


@pytest.mark.parametrize("adapter", ("a", "adapters/a/revisions/", "adapters/a b/revisions/c", "\0", 7, None, []))
def test_an_adapter_that_is_no_revision_is_rejected(adapter):
    document = json.loads(good().dumps())
    document["model"]["adapter"] = adapter
    found = admit(canonical.dumps(document), TERMS)
    assert isinstance(found, Rejected)
    assert found.reason == "BAD_NAMES"


@pytest.mark.parametrize("field", ("payer", "platform", "developer", "lease", "signer", "signature"))
@pytest.mark.parametrize("value", (7, None, [], {"a": 1}, "x"))
def test_a_field_of_the_wrong_kind_is_rejected_not_raised(field, value):
    document = json.loads(good().dumps()) | {field: value}
    found = admit(canonical.dumps(document), TERMS)
    assert isinstance(found, Rejected)


@pytest.mark.parametrize("change", ({"payer": "accounts/\0"}, {"signer": "\0"}, {"signer": "x" * 10**6}))
def test_what_is_kept_of_a_rejected_receipt_fits_every_database(change):
    document = json.loads(good().dumps()) | change
    found = admit(canonical.dumps(document), TERMS)
    assert isinstance(found, Rejected)
    assert "\0" not in found.payer + found.message
    assert len(found.message) <= 1000


def test_every_byte_counts():
    document = bytearray(good().dumps())
    for place in range(0, len(document), 7):
        changed = bytes(document[:place] + bytes([document[place] ^ 1]) + document[place + 1 :])
        assert isinstance(admit(changed, TERMS), Rejected), place


@pytest.mark.parametrize(
    ("terms", "reason"),
    (
        (Terms(frozenset(), Rule(), PLATFORM.address), "BAD_SIGNATURE"),
        (Terms(TERMS.signers, Rule(1, 1, 1), PLATFORM.address), "WRONG_RULE"),
        (Terms(TERMS.signers, Rule(), SIGNER.address), "WRONG_PLATFORM"),
    ),
)
def test_what_does_not_agree_with_the_terms(terms, reason):
    found = admit(good().dumps(), terms)
    assert isinstance(found, Rejected)
    assert (found.reason, found.payer) == (reason, PAYER.account)


def test_a_signer_who_signs_as_another_is_rejected():
    stranger = Wallet.create()
    signed = receipt.sign(good(), stranger.private_key)
    document = json.loads(signed.dumps()) | {"signer": SIGNER.address}
    found = admit(canonical.dumps(document), TERMS)
    assert isinstance(found, Rejected)
    assert found.reason == "BAD_SIGNATURE"
