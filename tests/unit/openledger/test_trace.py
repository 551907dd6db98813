"""The trace document: read back exactly, and refused with a reason when it is none."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger import canonical
from openledger.money import Price
from openledger.trace import Trace, parse, unix_seconds
from openledger.trace_proto import time_text
from tests.context_world import Snapshot, bytewise, placed

TRACE = Trace(
    response="responses/r1",
    base="smollm2-135m-instruct",
    base_sha256="a" * 64,
    adapter="adapters/x/revisions/" + "b" * 64,
    prompt_token_ids=(1, 2, 3),
    completion_token_ids=(4, 2),
    sampling={"max_tokens": 64, "temperature": "0.7", "stop": ["\n\n"]},
    finish_reason="stop",
    payer="accounts/0x" + "c" * 40,
    lease="leases/7",
    fee=2**100,
    platform_fee=10**15,
    start_time="2026-01-02T03:04:05.000000Z",
    end_time="2026-01-02T03:04:06.000000Z",
    engine="vllm 0.32.0",
)


def changed(**fields: object) -> bytes:
    return canonical.dumps(TRACE.to_json() | fields)


def test_a_trace_is_read_back_as_it_was_written():
    assert parse(TRACE.dumps()) == TRACE
    assert TRACE.digest() == canonical.sha256(TRACE.dumps())


def test_amounts_are_strings_so_that_no_reader_rounds_them():
    assert json.loads(TRACE.dumps())["fee"] == str(2**100)


@given(st.lists(st.integers(0, 2**31 - 1)), st.lists(st.integers(0, 2**31 - 1)), st.integers(0, 2**128 - 1))
def test_any_tokens_and_any_fee_come_back(prompt, completion, fee):
    trace = replace(TRACE, prompt_token_ids=tuple(prompt), completion_token_ids=tuple(completion), fee=fee)
    assert parse(trace.dumps()) == trace


@given(st.integers(0, len(TRACE.dumps()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_another_digest_or_no_trace(place, flip):
    forged = bytearray(TRACE.dumps())
    forged[place] ^= flip
    try:
        assert parse(bytes(forged)).digest() != TRACE.digest()
    except ValueError:
        return


@pytest.mark.parametrize(
    ("data", "words"),
    (
        (b"{}", "not a trace document"),
        (b"[1]", "not a trace document"),
        (b"\xff\xfe", r"."),
        (TRACE.dumps() + b" ", "canonical"),
        (changed(version="openledger.trace.v0"), "not an openledger.trace.v1"),
        (changed(text="hello"), "not a trace document"),
        (changed(prompt_token_ids=[-1]), "token ids"),
        (changed(completion_token_ids=[2**31]), "token ids"),
        (changed(completion_token_ids=[True]), "token ids"),
        (changed(completion_token_ids="1"), "token ids"),
        (changed(fee="-1"), "not an amount"),
        (changed(fee=None), "not a trace document"),
        (changed(payer="accounts/me"), "address"),
        (changed(payer="0x" + "c" * 40), "accounts"),
        (changed(response="responses/a/b"), "responses"),
        (changed(response=7), "response is not a text"),
        (changed(engine=None), "engine is not a text"),
        (changed(sampling=[]), "sampling is not an object"),
        (changed(adapter="adapters/x"), "adapters"),
    ),
)
def test_what_is_no_trace_is_refused_with_a_reason(data, words):
    with pytest.raises(ValueError, match=words):
        parse(data)


PRICE = Price(2000, 5000, 7)
PRICED = replace(TRACE, price=PRICE, fee=PRICE.fee(3, 2), platform_fee=7)


def test_a_trace_with_its_price_is_of_another_version_and_comes_back():
    assert parse(PRICED.dumps()) == PRICED
    document = json.loads(PRICED.dumps())
    assert document["version"] == "openledger.trace.v3"
    assert document["price"] == {"per_1k_in": "2000", "per_1k_out": "5000"}
    both = replace(PRICED, prompt_token_ids=PROMPT, context=RECORDS, fee=PRICE.fee(len(PROMPT), 2))
    assert parse(both.dumps()) == both
    assert json.loads(both.dumps())["version"] == "openledger.trace.v3"


@pytest.mark.parametrize(
    ("change", "words"),
    (
        ({"fee": "24"}, "the trace's fee is 24, and by its price and tokens it is 23"),
        ({"fee": "22"}, "it is 23"),
        ({"platform_fee": "8"}, "it is 24"),
        ({"prompt_token_ids": [1, 2]}, "it is 21"),
        ({"price": {"per_1k_in": "2000", "per_1k_out": "5001"}}, "it is 24"),
        ({"price": {"per_1k_in": "2000"}}, "not a trace document"),
        ({"price": {"per_1k_in": "2000", "per_1k_out": "5000", "per_image": "1"}}, "not a trace document"),
        ({"price": {"per_1k_in": 2000, "per_1k_out": 5000}}, "not a trace document"),
        ({"price": {"per_1k_in": "-1", "per_1k_out": "5000"}}, "not an amount"),
        ({"price": None}, "not a trace document"),
        ({"version": "openledger.trace.v1"}, "with a price"),
        ({"version": "openledger.trace.v2"}, "with a price"),
    ),
)
def test_a_trace_whose_fee_does_not_follow_from_its_price_is_none(change, words):
    with pytest.raises(ValueError, match=words):
        parse(canonical.dumps(json.loads(PRICED.dumps()) | change))


def test_a_price_does_not_go_without_its_version():
    with pytest.raises(ValueError, match=r"not an openledger\.trace\.v1"):
        parse(canonical.dumps(json.loads(TRACE.dumps()) | {"version": "openledger.trace.v3"}))


SALTED = replace(PRICED, salt="5a" * 32)


@pytest.mark.parametrize("published", (False, True))
def test_a_trace_with_a_salt_is_of_another_version_and_comes_back(published):
    trace = replace(SALTED, published=published)
    assert parse(trace.dumps()) == trace
    document = json.loads(trace.dumps())
    assert (document["version"], document["published"]) == ("openledger.trace.v4", published)
    both = replace(trace, prompt_token_ids=PROMPT, context=RECORDS, fee=PRICE.fee(len(PROMPT), 2))
    assert parse(both.dumps()) == both


def test_the_digest_of_one_answer_is_another_with_every_salt():
    assert len({replace(SALTED, salt=f"{number:064x}").digest() for number in range(50)}) == 50


def test_the_earlier_versions_are_byte_for_byte_what_they_were():
    for trace in (TRACE, PRICED):
        assert not {"salt", "published"} & json.loads(trace.dumps()).keys()


@pytest.mark.parametrize(
    ("change", "words"),
    (
        ({"salt": ""}, "64 lower-case hex digits"),
        ({"salt": "5A" * 32}, "64 lower-case hex digits"),
        ({"salt": "5a" * 31}, "64 lower-case hex digits"),
        ({"salt": "5a" * 32 + "\n"}, "64 lower-case hex digits"),
        ({"salt": 5}, "not a trace document"),
        ({"salt": None}, "not a trace document"),
        ({"published": "yes"}, "not a trace document"),
        ({"published": 1}, "not a trace document"),
        ({"published": None}, "not a trace document"),
        ({"version": "openledger.trace.v3"}, "with price, salt"),
    ),
)
def test_a_salt_that_is_none_makes_no_trace(change, words):
    with pytest.raises(ValueError, match=words):
        parse(canonical.dumps(json.loads(SALTED.dumps()) | change))


@pytest.mark.parametrize("missing", ("salt", "published", "price"))
def test_a_salt_goes_with_a_price_and_a_word_on_who_may_have_it(missing):
    document = json.loads(SALTED.dumps())
    del document[missing]
    with pytest.raises(ValueError, match="with price, salt"):
        parse(canonical.dumps(document))


RECORDS, PROMPT = placed([(Snapshot.of(), 0), (Snapshot.of(), 1)], bytewise, (1,), (2, 3))
WITH_RECORDS = replace(TRACE, prompt_token_ids=PROMPT, context=RECORDS)


def test_a_trace_with_records_is_of_another_version_and_comes_back():
    assert parse(WITH_RECORDS.dumps()) == WITH_RECORDS
    assert json.loads(WITH_RECORDS.dumps())["version"] == "openledger.trace.v2"
    assert "context" not in json.loads(TRACE.dumps())


@pytest.mark.parametrize(
    "change",
    (
        {"version": "openledger.trace.v1"},
        {"context": None},
        {"context": RECORDS.to_json() | {"more": 1}},
        {"context": RECORDS.to_json() | {"records": [{}]}},
        {"context": RECORDS.to_json() | {"start": "1"}},
    ),
)
def test_a_trace_has_records_as_they_are_written_or_none(change):
    with pytest.raises(ValueError, match=r"."):
        parse(canonical.dumps(json.loads(WITH_RECORDS.dumps()) | change))
    with pytest.raises(ValueError, match=r"not an openledger.trace.v1"):
        parse(canonical.dumps(json.loads(TRACE.dumps()) | {"version": "openledger.trace.v2"}))


@pytest.mark.parametrize("key", ("root", "salt", "path"))
def test_a_records_hashes_have_one_spelling(key):
    document = json.loads(WITH_RECORDS.dumps())
    record = document["context"]["records"][0]
    record[key] = [node.upper() for node in record[key]] if key == "path" else record[key].upper()
    with pytest.raises(ValueError, match="other spellings"):
        parse(canonical.dumps(document))


@given(st.integers(0, 10**11), st.integers(0, 999_999))
def test_the_seconds_of_a_time_are_its_whole_ones(seconds, micros):
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    assert unix_seconds(time_text(moment)) == seconds


@pytest.mark.parametrize(
    "time", ("", "2026-01-02T03:04:06Z", "2026-13-02T03:04:06.000000Z", "٢026-01-02T03:04:06.000000Z")
)
def test_what_is_no_time_has_no_seconds(time):
    with pytest.raises(ValueError, match=r"."):
        unix_seconds(time)
