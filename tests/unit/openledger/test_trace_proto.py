"""Document -> message -> bytes -> message -> document is the identity, and what cannot be so is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.money import Price
from openledger.openlora.v1 import openlora_pb2
from openledger.trace import Trace, parse
from openledger.trace_proto import from_proto, time_text, to_proto
from openledger.visible import VERSION
from tests.context_world import Snapshot, bytewise, placed

TRACE = Trace(
    response="responses/" + "0" * 32,
    base="smollm2-135m-instruct",
    base_sha256="a" * 64,
    adapter="adapters/phenotypes/revisions/" + "b" * 64,
    prompt_token_ids=(1, 2, 3),
    completion_token_ids=(4, 0, 2**31 - 1),
    sampling={"max_tokens": 128, "temperature": "0"},
    finish_reason="stop",
    payer="accounts/0x" + "c" * 40,
    lease="leases/7",
    fee=2**100,
    platform_fee=5,
    start_time="2026-01-02T03:04:05.000000Z",
    end_time="2026-01-02T03:04:06.000001Z",
    engine="vllm 0.32.0",
)
TOKENS = st.lists(st.integers(0, 2**31 - 1), max_size=50).map(tuple)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(time_text)  # noqa: DTZ001
SAMPLING = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(1, 8192),
        "temperature": st.sampled_from(["0", "0.1", "0.7", "1", "1.3333333333333333"]),
    },
    optional={
        "top_p": st.sampled_from(["0.000001", "0.95", "1", "1e-7"]),
        "top_k": st.integers(0, 1000),
        "seed": st.integers(0, 2**32 - 1),
        "stop": st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), min_size=1, max_size=8),
        "min_p": st.sampled_from(["0", "0.05", "1"]),
        "presence_penalty": st.sampled_from(["-2", "0.5", "2"]),
        "frequency_penalty": st.sampled_from(["-0.1", "0"]),
        "repetition_penalty": st.sampled_from(["1.1", "1"]),
        "logprobs": st.integers(0, 20),
        "json_schema": st.text(st.characters(codec="utf-8"), min_size=1, max_size=9),
    },
)
TRACES = st.builds(
    replace,
    st.just(TRACE),
    adapter=st.sampled_from(["", TRACE.adapter]),
    prompt_token_ids=TOKENS,
    completion_token_ids=TOKENS,
    sampling=SAMPLING,
    finish_reason=st.sampled_from(["stop", "length", "cancelled", "time"]),
    fee=st.integers(0, 2**128 - 1),
    platform_fee=st.integers(0, 2**128 - 1),
    start_time=MOMENTS,
    end_time=MOMENTS,
    engine=st.text(st.characters(codec="utf-8"), max_size=40),
)


@given(TRACES)
def test_a_trace_comes_back_byte_for_byte(trace):
    wire = to_proto(trace).SerializeToString()
    back = from_proto(openlora_pb2.Trace.FromString(wire))
    assert back == parse(trace.dumps())
    assert back.dumps() == trace.dumps()


@given(TRACES, st.binary(min_size=32, max_size=32), st.booleans())
def test_salt_and_word_on_who_may_have_it_come_back(trace, salt, published):
    price = Price(2000, 5000, 7)
    fee = price.fee(len(trace.prompt_token_ids), len(trace.completion_token_ids))
    salted = replace(trace, price=price, platform_fee=7, fee=fee, salt=salt.hex(), published=published)
    back = from_proto(openlora_pb2.Trace.FromString(to_proto(salted).SerializeToString()))
    assert back == salted
    assert back.digest() == salted.digest()


@pytest.mark.parametrize("salt", (b"short", bytes(33)))
def test_a_salt_of_another_length_is_refused(salt):
    price = Price(2000, 5000, 7)
    message = to_proto(replace(TRACE, price=price, platform_fee=7, fee=price.fee(3, 3), salt="5a" * 32))
    message.salt = salt
    with pytest.raises(ValueError, match="salt"):
        from_proto(message)


def test_without_a_salt_nothing_is_published_whatever_a_message_says():
    message = to_proto(TRACE)
    message.published = True
    assert from_proto(message).published is False


@pytest.mark.parametrize(
    ("field", "value"),
    (
        ("start_time", "2026-01-02T03:04:05Z"),
        ("start_time", "2026-01-02T03:04:05.000000001Z"),
        ("start_time", "2026-01-02T04:04:05.000000+01:00"),
        ("end_time", "yesterday"),
        ("finish_reason", "tired"),
        ("sampling", {"max_tokens": 1, "temperature": "0.70"}),
        ("sampling", {"max_tokens": 1, "temperature": 0.7}),
        ("sampling", {"max_tokens": 1, "temperature": "nan"}),
        ("sampling", {"max_tokens": 1}),
        ("sampling", {"max_tokens": 1, "temperature": "0", "stop": []}),
        ("sampling", {"max_tokens": 1, "temperature": "0", "top_p": None}),
        ("sampling", {"max_tokens": 2**40, "temperature": "0"}),
        ("sampling", {"max_tokens": 1, "temperature": "0", "beams": 4}),
        ("sampling", {"max_tokens": 1, "temperature": "0", "min_p": 0.1}),
        ("sampling", {"max_tokens": 1, "temperature": "0", "json_schema": ""}),
    ),
)
def test_a_document_that_would_not_come_back_is_refused(field, value):
    with pytest.raises(ValueError, match=r"."):
        to_proto(replace(TRACE, **{field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    (
        ("finish_reason", openlora_pb2.FINISH_REASON_UNSPECIFIED),
        ("fee", "-1"),
        ("payer", "accounts/somebody"),
        ("response", "answers/1"),
        ("adapter", "adapters/x"),
        ("prompt_token_ids", [2**31]),
    ),
)
def test_a_message_that_is_no_trace_is_refused(field, value):
    message = to_proto(TRACE)
    message.ClearField(field)
    message.MergeFrom(openlora_pb2.Trace(**{field: value}))
    with pytest.raises(ValueError, match=r"."):
        from_proto(message)


def test_a_message_with_finer_times_than_documents_have_is_refused():
    message = to_proto(TRACE)
    message.start_time.nanos = 1
    with pytest.raises(ValueError, match="six decimals"):
        from_proto(message)


@given(st.integers(0, 10**30), st.integers(0, 10**30), st.integers(0, 10**20), TOKENS, TOKENS)
def test_prices_come_back_with_the_trace(per_1k_in, per_1k_out, platform_fee, prompt, completion):
    price = Price(per_1k_in, per_1k_out, platform_fee)
    tokens = {"prompt_token_ids": prompt, "completion_token_ids": completion}
    fee = price.fee(len(prompt), len(completion))
    trace = replace(TRACE, price=price, fee=fee, platform_fee=platform_fee, **tokens)
    assert from_proto(openlora_pb2.Trace.FromString(to_proto(trace).SerializeToString())) == trace


def test_a_message_whose_fee_does_not_follow_from_its_price_is_refused():
    trace = replace(TRACE, price=Price(1000, 1000, 5), fee=11, platform_fee=5)
    assert from_proto(to_proto(trace)) == trace
    for field in ("fee", "platform_fee"):
        message = to_proto(trace)
        setattr(message, field, "12")
        with pytest.raises(ValueError, match="by its price and tokens"):
            from_proto(message)


def test_records_come_back_with_the_trace():
    herbs = Snapshot.of()
    records, prompt = placed([(herbs, leaf) for leaf in (2, 0, 1)], bytewise, (1,), (2, 3))
    trace = replace(TRACE, prompt_token_ids=prompt, context=records)
    assert from_proto(openlora_pb2.Trace.FromString(to_proto(trace).SerializeToString())) == trace


def test_records_of_another_template_are_refused():
    records, prompt = placed([(Snapshot.of(), 0)], bytewise, (1,), (2,))
    message = to_proto(replace(TRACE, prompt_token_ids=prompt, context=records))
    assert message.context.compared == VERSION
    message.context.ClearField("compared")
    assert from_proto(message).context.compared == 1
    message.context.compared = VERSION + 1
    with pytest.raises(ValueError, match="texts are compared by version"):
        from_proto(message)
    message.context.template = "openledger.context.v9"
    with pytest.raises(ValueError, match=r"known here is openledger\.context\.v1"):
        from_proto(message)
