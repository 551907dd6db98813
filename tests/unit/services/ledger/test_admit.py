from __future__ import annotations

import json
from dataclasses import replace

import pytest

from openledger import canonical, receipt, split
from openledger.client import Wallet
from openledger.split import NAT, Rule
from services.ledger.admit import Admitted, Rejected, Terms, admit
from tests.ledger_world import EARNERS, PLATFORM, SIGNER, a_receipt

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


NO_AMOUNTS = ("-1", "1.5", "1e3", "1E+3", " 1", "01", "+1", "0x1", "\uff11", "NaN", "", str(2**128), str(2**256 - 1))


@pytest.mark.parametrize("amount", (*NO_AMOUNTS, 1, None))
@pytest.mark.parametrize("place", ("fee", "platform_fee", "shares"))
def test_what_is_no_amount_is_rejected_with_its_text(place, amount):
    document = json.loads(good().dumps())
    document[place] = {**document["shares"], PLATFORM.address: amount} if place == "shares" else amount
    found = admit(canonical.dumps(document), TERMS)
    assert isinstance(found, Rejected)
    assert found.reason == "UNREADABLE"
    assert "is not an amount" in found.message or not isinstance(amount, str)


@pytest.mark.parametrize("fee", (0, 1, 10, 2**128 - 1))
def test_the_smallest_and_the_largest_fee_are_fees(fee):
    found = admit(a_receipt(PAYER, "leases/1", fee).dumps(), TERMS)
    assert isinstance(found, Admitted)
    assert sum(found.receipt.shares.values()) == fee


def test_a_share_for_an_account_twice_is_rejected():
    plain, earner = good(), EARNERS[0].address
    mine = f'"{earner}":"{plain.shares[earner]}"'
    # A reader takes the last of two, or the first: which would be paid is anybody's guess.
    twice = plain.dumps().replace(b'"shares":{', f'"shares":{{{mine},'.encode())
    assert twice.count(mine.encode()) == 2
    assert admit(twice, TERMS).reason == "UNREADABLE"
    shouted = {"0x" + earner[2:].upper(): plain.shares[earner]}
    for shares in (plain.shares | shouted, {**plain.shares, earner: 0} | shouted, {**plain.shares, earner: 1}):
        again = receipt.sign(replace(plain, shares=shares), SIGNER.private_key)
        assert admit(again.dumps(), TERMS).reason == "WRONG_SPLIT"


@pytest.mark.parametrize("share", (0, 1))
def test_shares_that_add_up_to_nothing_or_to_less_are_rejected(share):
    plain = good()
    shares = dict.fromkeys(plain.shares, share)
    assert admit(receipt.sign(replace(plain, shares=shares), SIGNER.private_key).dumps(), TERMS).reason == "WRONG_SPLIT"


@pytest.mark.parametrize("scores", ((0, 0), (NAT, -NAT), (-NAT, -NAT), (1, -(10**50))))
def test_scores_that_add_up_to_nothing_divide_the_fee_to_the_unit(scores):
    plain = good()
    who = [earner.address for earner in EARNERS[:2]]
    evidence = replace(plain.evidence, scores=dict(zip(who, scores, strict=True)), errors=dict.fromkeys(who, 0))
    shares = split.split_fee(plain.fee, plain.platform_fee, evidence, Rule())
    found = admit(a_receipt(PAYER, "leases/1", plain.fee, evidence=evidence, shares=shares).dumps(), TERMS)
    assert isinstance(found, Admitted)
    assert sum(shares.values()) == plain.fee
    assert (who[0] in shares) is (scores[0] > 0)
    assert (split.UNATTRIBUTED in shares) is (scores[0] <= 0)


def by(rule, platform=PLATFORM.address):
    return a_receipt(PAYER, "leases/1", 10**18, rule=rule, platform=platform).dumps()


def test_a_receipt_by_terms_that_were_published_before_is_admitted():
    old, platform = Rule(cap_bps=100), "0x" + "5a" * 20
    terms = replace(TERMS, published=frozenset({(old.digest(), platform)}))
    assert isinstance(admit(by(old, platform), terms), Admitted)
    assert isinstance(admit(by(Rule()), terms), Admitted)
    assert admit(by(old, platform), TERMS).reason == "WRONG_RULE"
    assert admit(by(Rule(cap_bps=101), platform), terms).reason == "WRONG_RULE"


def test_a_platform_counts_with_the_rule_that_it_was_published_with():
    old, platform = Rule(cap_bps=100), "0x" + "5a" * 20
    terms = replace(TERMS, published=frozenset({(old.digest(), platform)}))
    assert admit(by(old), terms).reason == "WRONG_PLATFORM"
    assert admit(by(Rule(), platform), terms).reason == "WRONG_PLATFORM"
