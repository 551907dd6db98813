"""A signed receipt: what is changed in it afterwards is found."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from openledger import canonical
from openledger.receipt import Model, Receipt, check_signature, check_split, parse, reread, sign
from openledger.split import NAT, Evidence, Retrieval, Rule, split_fee

KEY = "0x" + "11" * 32
SIGNER = Account.from_key(KEY).address.lower()
A, B, C = ("0x" + letter * 40 for letter in "abc")
EVIDENCE = Evidence(
    4 * NAT,
    3 * NAT,
    scores={A: NAT // 2, B: NAT // 3},
    placebos=(NAT // 1000, -(NAT // 900)),
    errors={A: NAT // 1000, B: NAT // 900},
)
UNSIGNED = Receipt(
    response="responses/r1",
    trace_sha256="a" * 64,
    payer="accounts/0x" + "c" * 40,
    lease="leases/7",
    model=Model("smollm2-135m-instruct", "b" * 64, "adapters/x/revisions/" + "d" * 64, "e" * 64),
    method="shadow-trajectories.v1",
    rule=Rule(),
    evidence=EVIDENCE,
    fee=10**18 + 3,
    platform_fee=10**15,
    shares=split_fee(10**18 + 3, 10**15, EVIDENCE, Rule()),
    developer="0x" + "d" * 40,
    platform="0x" + "f" * 40,
)
SIGNED = sign(UNSIGNED, KEY)
BYTES = SIGNED.dumps()
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
ORDER = 2 * HALF_ORDER + 1


def holds(data: bytes) -> None:
    """All that can be said of a receipt without artifacts; raises `ValueError` when it does not hold."""
    receipt = parse(data)
    check_signature(receipt)
    if receipt.signer != SIGNER:
        raise ValueError("signed by somebody else")
    check_split(receipt)


def changes_nothing(data: bytes) -> bool:
    """Whether a receipt holds, whoever signed it as long as it is who is expected."""
    try:
        holds(data)
    except ValueError:
        return False
    return True


def changed(**fields: object) -> bytes:
    """The signed document with other values in it, as a forger would write it."""
    return canonical.dumps(json.loads(BYTES) | fields)


def test_a_receipt_is_read_back_as_it_was_signed():
    assert parse(BYTES) == SIGNED
    assert parse(BYTES).dumps() == BYTES
    assert SIGNED.signer == SIGNER
    assert SIGNED.digest() == canonical.sha256(BYTES)
    holds(BYTES)


def test_what_was_taken_before_is_read_again_without_looking_at_its_form():
    data = sign(UNSIGNED, KEY).dumps()
    assert reread(data) == parse(data)
    assert reread(json.dumps(json.loads(data)).encode()) == parse(data)


def test_signing_again_gives_the_same_bytes():
    assert sign(UNSIGNED, KEY).dumps() == BYTES
    assert sign(SIGNED, KEY).dumps() == BYTES


def test_the_bytes_are_those_that_are_documented():
    """For a document of texts and small whole numbers, plain sorted JSON is RFC 8785."""
    plain = json.dumps(json.loads(BYTES), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert plain == BYTES
    assert json.loads(BYTES)["version"] == "openledger.receipt.v4"


@given(st.integers(0, len(BYTES) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(place, flip):
    forged = bytearray(BYTES)
    forged[place] ^= flip
    with pytest.raises(ValueError, match=r"."):
        holds(bytes(forged))


def test_every_flipped_bit_of_the_signature_is_found():
    start = BYTES.index(SIGNED.signature.encode())
    for place in range(start, start + len(SIGNED.signature)):
        for bit in range(8):
            forged = bytearray(BYTES)
            forged[place] ^= 1 << bit
            with pytest.raises(ValueError, match=r"."):
                holds(bytes(forged))


@pytest.mark.parametrize(
    "fields",
    (
        {"fee": str(10**18 + 4)},
        {"platform_fee": "0"},
        {"payer": "accounts/" + A},
        {"developer": A},
        {"platform": A},
        {"response": "responses/r2"},
        {"trace_sha256": "0" * 64},
        {"lease": "leases/8"},
        {"method": "base.v1"},
    ),
)
def test_a_changed_field_breaks_the_signature(fields):
    with pytest.raises(ValueError, match="changed after it was signed"):
        check_signature(parse(changed(**fields)))


@given(st.sampled_from(sorted(SIGNED.shares)), st.integers(-(10**15), 10**15).filter(bool))
def test_a_changed_share_breaks_the_split_even_when_signed_anew(key, difference):
    shares = dict(SIGNED.shares)
    shares[key] = max(0, shares[key] + difference)
    if shares == SIGNED.shares:
        return
    forged = sign(replace(UNSIGNED, shares=shares), KEY)
    check_signature(forged)
    with pytest.raises(ValueError, match=f"the share of {key} is"):
        check_split(forged)


def test_money_moved_from_one_to_another_is_found():
    shares = dict(SIGNED.shares)
    shares[A], shares["base"] = shares[A] + 1, shares["base"] - 1
    with pytest.raises(ValueError, match=r"the share of 0xa+ is .*2 of 7 shares differ"):
        check_split(replace(UNSIGNED, shares=shares))


def test_a_changed_score_breaks_the_split():
    evidence = replace(EVIDENCE, scores={A: NAT // 4, B: NAT // 3})
    with pytest.raises(ValueError, match="the share of"):
        check_split(replace(UNSIGNED, evidence=evidence))


def test_another_spelling_of_the_same_signature_is_refused():
    body, v = SIGNED.signature[2:130], SIGNED.signature[130:]
    s = int(body[64:], 16)
    twins = [
        "0x" + body.upper() + v,
        "0x" + body + f"{int(v, 16) - 27:02x}",
        "0x" + body[:64] + f"{ORDER - s:064x}" + ("1c" if v == "1b" else "1b"),
        body + v,
    ]
    for twin in twins:
        with pytest.raises(ValueError, match="one spelling"):
            check_signature(replace(SIGNED, signature=twin))


def test_somebody_elses_signature_is_found():
    other = sign(UNSIGNED, "0x" + "22" * 32)
    check_signature(other)
    with pytest.raises(ValueError, match="not by"):
        check_signature(replace(other, signer=SIGNER))


@pytest.mark.parametrize(
    ("data", "words"),
    (
        (b"", r"."),
        (b"\xff", r"."),
        (b"[]", "not a receipt document"),
        (b'{"version":"openledger.receipt.v2"}', "not an openledger.receipt.v4"),
        (b'{"version":"openledger.receipt.v4"}', "not a receipt document"),
        (BYTES + b"\n", "canonical"),
        (json.dumps(json.loads(BYTES), indent=1).encode(), "canonical"),
        (changed(note="more"), "do not belong"),
        (changed(fee="01"), "not an amount"),
        (changed(fee=1), "not a receipt"),
        (changed(shares={"base": "-1"}), "not an amount"),
        (changed(response="answers/1"), "responses"),
        (changed(evidence=json.loads(BYTES)["evidence"] | {"nll_base": "1e3"}), "whole number|invalid literal"),
        (changed(evidence=json.loads(BYTES)["evidence"] | {"scores": {A.upper(): "1"}}), "address|lower case"),
        (changed(rule={"developer_bps": 0.5, "stakers_bps": 0, "noise_z_milli": 0}), "whole numbers"),
    ),
)
def test_what_is_no_receipt_is_refused_with_a_reason(data, words):
    with pytest.raises(ValueError, match=words):
        parse(data)


# --- with records before the question ---------------------------------------------------------------------------------

READ = replace(EVIDENCE, retrieval=Retrieval(5 * NAT, 4 * NAT, {A: NAT // 2, C: -NAT}))
WITH_RECORDS = sign(
    replace(UNSIGNED, evidence=READ, shares=split_fee(UNSIGNED.fee, UNSIGNED.platform_fee, READ, Rule())), KEY
).dumps()


def test_what_records_did_stands_apart_and_comes_back():
    document = json.loads(WITH_RECORDS)
    assert document["version"] == "openledger.receipt.v5"
    assert document["retrieval"] == {
        "nll_base": str(5 * NAT),
        "nll_model": str(4 * NAT),
        "scores": {A: str(NAT // 2), C: str(-NAT)},
    }
    assert parse(WITH_RECORDS).evidence == reread(WITH_RECORDS).evidence == READ
    assert {A, f"retrieval:{A}"} < document["shares"].keys()
    holds(WITH_RECORDS)


def test_a_receipt_without_records_is_what_it_was_before_there_were_any():
    assert json.loads(BYTES)["version"] == "openledger.receipt.v4"
    assert "retrieval" not in json.loads(BYTES)


@given(st.integers(0, len(WITH_RECORDS) - 1), st.integers(1, 255))
def test_one_changed_byte_of_a_receipt_with_records_is_found(place, flip):
    damaged = bytearray(WITH_RECORDS)
    damaged[place] ^= flip
    assert not changes_nothing(bytes(damaged))


@pytest.mark.parametrize(
    "change",
    (
        {"version": "openledger.receipt.v4"},
        {"retrieval": None},
        {"retrieval": {"nll_base": "1", "nll_model": "1"}},
        {"retrieval": {"nll_base": "1", "nll_model": "1", "scores": {A.upper(): "1"}}},
        {"retrieval": {"nll_base": "1", "nll_model": "1", "scores": {A: 1}}},
        {"retrieval": {"nll_base": "1", "nll_model": "1", "scores": {}, "more": 1}},
    ),
)
def test_what_records_did_has_one_form(change):
    with pytest.raises(ValueError, match=r"."):
        parse(canonical.dumps(json.loads(WITH_RECORDS) | change))


def test_shares_for_records_follow_from_what_they_did():
    forged = parse(WITH_RECORDS)
    more = {A: forged.shares[A] - 1, f"retrieval:{A}": forged.shares[f"retrieval:{A}"] + 1}
    with pytest.raises(ValueError, match="the rule gives"):
        check_split(replace(forged, shares=dict(forged.shares) | more))


# --- with the time at which the answer ended --------------------------------------------------------------------------

ENDED = "2026-01-02T03:04:06.987654Z"


@pytest.mark.parametrize("evidence", (EVIDENCE, READ))
def test_when_the_answer_ended_is_signed_and_comes_back(evidence):
    shares = split_fee(UNSIGNED.fee, UNSIGNED.platform_fee, evidence, Rule())
    timed = sign(replace(UNSIGNED, evidence=evidence, shares=shares, end_time=ENDED), KEY).dumps()
    document = json.loads(timed)
    assert (document["version"], document["end_time"]) == ("openledger.receipt.v6", ENDED)
    assert document["published"] is True
    assert ("retrieval" in document) is (evidence is READ)
    found = parse(timed)
    assert found == reread(timed)
    assert (found.end_time, found.ended, found.evidence) == (ENDED, 1767323046, evidence)
    holds(timed)
    with pytest.raises(ValueError, match="changed after it was signed"):
        check_signature(replace(found, end_time=ENDED.replace("2026", "2025")))


def test_earlier_receipts_do_not_say_it():
    assert {parse(data).ended for data in (BYTES, WITH_RECORDS)} == {None}


@pytest.mark.parametrize(
    "time", ("", "yesterday", 7, None, ENDED[:-1], ENDED[:19] + "Z", ENDED + "\n", "2026-02-30" + ENDED[10:])
)
def test_a_time_that_is_none_is_refused(time):
    document = json.loads(sign(replace(UNSIGNED, end_time=ENDED), KEY).dumps())
    with pytest.raises(ValueError, match=r"."):
        parse(canonical.dumps(document | {"end_time": time}))


def test_whether_the_trace_is_published_is_signed_and_comes_back():
    for published in (True, False):
        timed = sign(replace(UNSIGNED, end_time=ENDED, published=published), KEY).dumps()
        found = parse(timed)
        assert (found, found.published) == (reread(timed), published)
        holds(timed)
        with pytest.raises(ValueError, match="changed after it was signed"):
            check_signature(replace(found, published=not published))
    assert {parse(data).published for data in (BYTES, WITH_RECORDS)} == {True}, "of before it was said, all are"


@pytest.mark.parametrize("word", (None, 0, 1, "", "true", [], {}))
def test_a_word_on_the_trace_that_is_none_is_refused(word):
    document = json.loads(sign(replace(UNSIGNED, end_time=ENDED), KEY).dumps())
    with pytest.raises(ValueError, match="neither true nor false"):
        parse(canonical.dumps(document | {"published": word}))
    del document["published"]
    with pytest.raises(ValueError, match="not a receipt document: KeyError"):
        parse(canonical.dumps(document))


@pytest.mark.parametrize("word", (True, False))
def test_a_receipt_of_an_earlier_version_has_no_word_on_the_trace(word):
    with pytest.raises(ValueError, match="do not belong"):
        parse(canonical.dumps(json.loads(BYTES) | {"published": word}))


@pytest.mark.parametrize("version", ("openledger.receipt.v4", "openledger.receipt.v5"))
def test_a_receipt_of_an_earlier_version_says_no_time(version):
    document = json.loads(sign(replace(UNSIGNED, end_time=ENDED), KEY).dumps())
    with pytest.raises(ValueError, match="do not belong"):
        parse(canonical.dumps(document | {"version": version}))
    with pytest.raises(ValueError, match="not a receipt"):
        parse(canonical.dumps(json.loads(BYTES) | {"version": "openledger.receipt.v6"}))
