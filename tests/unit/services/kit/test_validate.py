from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.datanet.v1 import datanet_pb2
from openledger.ledger.v1 import ledger_pb2
from openledger.openlora.v1 import openlora_pb2
from services.kit.errors import Fault
from services.kit.validate import validate

ID = str(uuid.uuid4())


def problems(message) -> dict[str, str]:
    try:
        validate(message)
    except Fault as fault:
        return dict(fault.fields)
    return {}


def chat(**change) -> openlora_pb2.ChatRequest:
    fields = {"model": "base", "messages": [openlora_pb2.Message(role="user", content="hi")], "request_id": ID}
    return openlora_pb2.ChatRequest(**fields | change)


def test_a_right_request_passes():
    assert problems(chat()) == {}


def test_what_is_required_must_be_there():
    assert problems(openlora_pb2.ChatRequest()).keys() == {"model", "messages", "request_id"}


def test_nested_and_repeated_messages_are_looked_into():
    wrong = chat(
        messages=[openlora_pb2.Message(role="user"), openlora_pb2.Message(content="x" * 100_001)],
        sampling=openlora_pb2.Sampling(temperature=3, stop=["a", "b" * 101]),
    )
    assert problems(wrong).keys() == {
        "messages[1].role",
        "messages[1].content",
        "sampling.temperature",
        "sampling.stop[1]",
    }


@pytest.mark.parametrize(("temperature", "fine"), ((0, True), (2, True), (2.1, False), (-1, False)))
def test_bounds_are_inclusive(temperature, fine):
    assert (problems(chat(sampling=openlora_pb2.Sampling(temperature=temperature))) == {}) is fine


def test_not_a_number_is_within_no_bounds():
    assert problems(chat(sampling=openlora_pb2.Sampling(temperature=float("nan")))).keys() == {"sampling.temperature"}


def test_lists_have_an_end():
    assert "at most 8" in problems(chat(sampling=openlora_pb2.Sampling(stop=["x"] * 9)))["sampling.stop"]


def test_an_unset_optional_field_is_not_judged():
    assert problems(chat(sampling=openlora_pb2.Sampling())) == {}
    assert problems(chat(sampling=openlora_pb2.Sampling(top_p=0))).keys() == {"sampling.top_p"}


@pytest.mark.parametrize("name", ("datanets/a/b", "accounts/x", "datanets/", "datanets/a\n"))
def test_resource_names_have_their_form(name):
    assert problems(datanet_pb2.GetDatanetRequest(name=name)).keys() == {"name"}


@pytest.mark.parametrize("datanet_id", ("ab", "Abc", "1abc", "abc-", "a" * 64, "a_b", "abc\n"))
def test_ids_have_their_form(datanet_id):
    request = datanet_pb2.CreateDatanetRequest(
        datanet=datanet_pb2.Datanet(display_name="x", licence="CC0-1.0"), datanet_id=datanet_id, request_id=ID
    )
    assert problems(request).keys() == {"datanet_id"}


@given(st.text(max_size=45))
def test_amounts_are_digits_or_refused(text):
    request = ledger_pb2.AcquireLeaseRequest(account="accounts/0x" + "a" * 40, amount=text, request_id=ID)
    digits = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and int(text) < 2**128
    assert (problems(request) == {}) is digits
