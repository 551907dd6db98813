from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from openledger import canonical, receipt, split
from openledger.client import Wallet
from openledger.split import NAT, Rule
from services.ledger import admit as admission
from services.ledger.admit import Admitted, Rejected, Terms
from services.ledger.registries import Split
from services.ledger.splits import Change, history
from tests.ledger_world import EARNERS, PLATFORM, SIGNER, a_receipt

TERMS = Terms(frozenset({SIGNER.address}), Rule(), PLATFORM.address)
PAYER = Wallet("0x" + "77" * 32)


def admit(document, terms):
    return admission.admit(admission.read(document), terms)


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


@pytest.mark.parametrize("published", (True, False))
def test_a_receipt_says_whether_its_trace_is_published(published):
    timed = a_receipt(PAYER, "leases/1", 10**18, end_time="2026-01-02T03:04:06.000000Z", published=published)
    assert isinstance(admit(timed.dumps(), TERMS), Admitted)
    document = json.loads(timed.dumps())
    without = {key: value for key, value in document.items() if key != "published"}
    for other in (without, *(document | {"published": word} for word in (None, 0, "false", []))):
        found = admit(canonical.dumps(other), TERMS)
        assert isinstance(found, Rejected)
        assert found.reason == "UNREADABLE"
    earlier = json.loads(good().dumps()) | {"published": published}
    assert admit(canonical.dumps(earlier), TERMS).reason == "UNREADABLE"


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
    terms = replace(TERMS, published=frozenset({(old, platform)}))
    assert isinstance(admit(by(old, platform), terms), Admitted)
    assert isinstance(admit(by(Rule()), terms), Admitted)
    assert admit(by(old, platform), TERMS).reason == "WRONG_RULE"
    assert admit(by(Rule(cap_bps=101), platform), terms).reason == "WRONG_RULE"


def test_a_platform_counts_with_the_rule_that_it_was_published_with():
    old, platform = Rule(cap_bps=100), "0x" + "5a" * 20
    terms = replace(TERMS, published=frozenset({(old, platform)}))
    assert admit(by(old), terms).reason == "WRONG_PLATFORM"
    assert admit(by(Rule(), platform), terms).reason == "WRONG_PLATFORM"


# --- splits of registered revisions -----------------------------------------------------------------------------------

REVISION = "adapters/a/revisions/" + "c" * 64
CHANGES = [Change(Split(1500, 500), 1_000_000, 7, "0x7"), Change(Split(3000, 0), 2_000_000, 9, "0x9")]
REGISTERED = replace(TERMS, held={REVISION: history(CHANGES)}.get, lag=600)
EARLY, MIDDLE, LATE = (
    f"1970-01-{day}T00:00:00.000000Z" for day in ("02", "20", "31")
)  # before it was registered, after that, after the change


def ended(end_time, developer_bps=Rule.developer_bps, stakers_bps=Rule.stakers_bps, **changes):
    rule = Rule(developer_bps=developer_bps, stakers_bps=stakers_bps)
    return a_receipt(PAYER, "leases/1", 10**18, **{"end_time": end_time, "rule": rule} | changes).dumps()


@pytest.mark.parametrize(("end_time", "split"), ((EARLY, (2000, 1000)), (MIDDLE, (1500, 500)), (LATE, (3000, 0))))
def test_answers_are_paid_by_the_split_that_held_when_they_ended(end_time, split):
    assert isinstance(admit(ended(end_time, *split), REGISTERED), Admitted)
    for other in {(2000, 1000), (1500, 500), (3000, 0), (5000, 0), (0, 0)} - {split}:
        refused = admit(ended(end_time, *other), REGISTERED)
        assert isinstance(refused, Rejected)
        assert refused.reason == ("SPLIT_NOT_IN_FORCE" if end_time != EARLY else "WRONG_RULE")


def test_a_split_that_is_not_in_force_is_refused_with_those_that_are():
    refused = admit(ended(LATE, 1500, 500), REGISTERED)
    assert refused.message == (
        "split with 1500 and 500 basis points for developer and stakers, which did not hold for "
        f"{REVISION} when the answer ended, {LATE}: what held is 3000 and 0 since 1970-01-24T03:33:20+00:00 (block 9)"
    )


@pytest.mark.parametrize(
    ("seconds", "by_old", "by_new"), ((-601, 1, 0), (-600, 1, 1), (0, 1, 1), (599, 1, 1), (600, 0, 1))
)
def test_around_a_change_either_split_is_admitted(seconds, by_old, by_new):
    moment = datetime.fromtimestamp(2_000_000 + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    found = [isinstance(admit(ended(moment, *parts), REGISTERED), Admitted) for parts in ((1500, 500), (3000, 0))]
    assert found == [by_old, by_new]


def test_the_rest_of_the_rule_is_the_ledgers_also_where_the_split_is_the_revisions():
    other = Rule(developer_bps=3000, stakers_bps=0, cap_bps=100)
    assert admit(ended(LATE, rule=other), REGISTERED).reason == "WRONG_RULE"
    before = replace(REGISTERED, published=frozenset({(Rule(cap_bps=100), PLATFORM.address)}))
    assert isinstance(admit(ended(LATE, rule=other), before), Admitted)
    assert admit(ended(LATE, 3000, 0, platform=SIGNER.address), REGISTERED).reason == "WRONG_PLATFORM"


def test_other_revisions_and_the_base_model_are_paid_by_the_ledgers_own_split():
    for adapter in ("", "adapters/b/revisions/" + "d" * 64):
        model = replace(good().model, adapter=adapter)
        terms = replace(REGISTERED, held=lambda revision: history(CHANGES if revision == REVISION else []))
        assert isinstance(admit(ended(LATE, model=model), terms), Admitted)
        assert admit(ended(LATE, 3000, 0, model=model), terms).reason == "WRONG_RULE"


def test_a_receipt_that_does_not_say_its_time_is_by_the_ledgers_own_split():
    """As all were before they said it: else who signs them would choose among a developer's splits."""
    assert isinstance(admit(ended(""), REGISTERED), Admitted)
    for parts in ((1500, 500), (3000, 0), (0, 0)):
        assert admit(ended("", *parts), REGISTERED).reason == "WRONG_RULE"


@pytest.mark.parametrize(("ahead", "admitted"), ((-1, True), (600, True), (601, False)))
def test_an_answer_that_is_to_end_far_in_the_future_is_refused(ahead, admitted):
    now = 3_000_000
    end_time = datetime.fromtimestamp(now + ahead, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    found = admit(ended(end_time, 3000, 0), replace(REGISTERED, now=now))
    assert isinstance(found, Admitted) is admitted
    assert admitted or (found.reason, "in the future" in found.message) == ("NOT_ENDED", True)
