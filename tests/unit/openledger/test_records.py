"""Records as bytes: one form each, commitments that bind and hide, fingerprints of what reads the same."""

from __future__ import annotations

import hashlib
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger import canonical, merkle, records

ADA = "0x" + "aD" * 20
SALT = bytes(range(32))

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
fields = st.dictionaries(st.sampled_from(("term", "definition", "note")), texts, min_size=1)


def test_the_canonical_form_is_this():
    assert (
        records.canonical_bytes(ADA, {"term": "fever", "definition": "Fieber é"}, "hp#1")
        == (
            '{"contributor":"0x' + "ad" * 20 + '","fields":{"definition":"Fieber é","term":"fever"},'
            '"source":"hp#1","version":"openledger.record.v1"}'
        ).encode()
    )


def test_the_commitment_is_the_hash_of_zero_salt_and_bytes():
    assert records.commitment(SALT, b"abc") == hashlib.sha256(b"\x00" + SALT + b"abc").digest()


@pytest.mark.parametrize("length", (0, 31, 33))
def test_a_salt_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match="a salt has 32 bytes"):
        records.commitment(b"s" * length, b"abc")


def test_no_record_is_made_for_what_is_no_address():
    with pytest.raises(ValueError, match="not an address"):
        records.canonical_bytes("ada", {"text": "x"})


@given(fields, texts)
def test_the_canonical_form_says_all_and_does_not_depend_on_order(given_fields, source):
    data = records.canonical_bytes(ADA, given_fields, source)
    assert data == records.canonical_bytes(ADA.lower(), dict(reversed(given_fields.items())), source)
    document = canonical.loads(data)
    assert (document["fields"], document["source"]) == (given_fields, source)
    assert document["contributor"] == ADA.lower()


@given(fields, texts, fields, texts)
def test_different_records_have_different_bytes(one, one_source, two, two_source):
    same = (one, one_source) == (two, two_source)
    assert (records.canonical_bytes(ADA, one, one_source) == records.canonical_bytes(ADA, two, two_source)) is same


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=20), st.data())
def test_every_record_of_a_snapshot_can_be_proven_and_no_other(bodies, data):
    commitments = [records.commitment(hashlib.sha256(b"%d" % i).digest(), body) for i, body in enumerate(bodies)]
    root = records.snapshot_root(commitments)
    leaf = data.draw(st.integers(0, len(bodies) - 1))
    path = merkle.inclusion_proof(commitments, leaf)
    assert merkle.verify_inclusion(commitments[leaf], leaf, len(commitments), path, root)
    other = records.commitment(SALT, bodies[leaf] + b"!")
    assert not merkle.verify_inclusion(other, leaf, len(commitments), path, root)


def test_the_content_root_knows_the_order():
    assert records.content_root([b"a", b"b"]) == merkle.root([b"a", b"b"])
    assert records.content_root([b"a", b"b"]) != records.content_root([b"b", b"a"])


@pytest.mark.parametrize(
    ("one", "two"),
    (
        ({"text": "a fever"}, {"text": "  a\t\r\n fever "}),
        ({"text": "caf\u00e9"}, {"text": "cafe\u0301"}),
        ({"text": "fe\u200bver"}, {"text": "fever"}),
        ({"text": "fe\u034fver\ufe0f"}, {"text": "fever"}),
        ({"text": "\u3164a\u3164\uffa0fever\u2800"}, {"text": "a fever"}),
        ({"text": "cafe\u034f\u0301"}, {"text": "caf\u00e9"}),
        ({"text": "a\u00a0fever"}, {"text": "a fever"}),
        ({"term": "fever", "definition": "heat"}, {"name": "fever", "meaning": "heat"}),
        ({"term": "fever", "note": ""}, {"term": "fever"}),
    ),
    ids=(
        "spaces",
        "composition",
        "invisible",
        "ignorable",
        "fillers",
        "between",
        "no-break",
        "other-fields",
        "empty-field",
    ),
)
def test_what_reads_the_same_has_the_same_fingerprint(one, two):
    assert records.fingerprint(one) == records.fingerprint(two)


@pytest.mark.parametrize(
    ("one", "two"),
    (
        ({"text": "a fever"}, {"text": "A fever"}),
        ({"text": "a fever"}, {"text": "afever"}),
        ({"text": "a_fever"}, {"text": "a fever"}),
        ({"term": "a", "definition": "b"}, {"term": "a b"}),
        ({"term": "a", "definition": "a"}, {"term": "a"}),
    ),
    ids=("case", "word-break", "underscore", "joined", "twice"),
)
def test_what_reads_differently_has_another_fingerprint(one, two):
    assert records.fingerprint(one) != records.fingerprint(two)


@given(texts)
def test_the_comparable_form_is_its_own_and_in_nfc(text):
    form = records.comparable(text)
    assert records.comparable(form) == form
    assert unicodedata.is_normalized("NFC", form)
    assert records.fingerprint({"text": text}) == records.fingerprint({"other": form})


def test_canonical_bytes_are_json_that_anyone_can_read():
    assert json.loads(records.canonical_bytes(ADA, {"text": "x"}))["version"] == records.VERSION
