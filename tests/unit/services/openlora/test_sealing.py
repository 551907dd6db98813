"""What lies on disk of an answer: the text for whoever has the payer's key, the account for the books."""

from __future__ import annotations

import json

import pytest

from openledger import canonical
from openledger.trace import Trace
from services.kit.sealing import DataKey, Unopened, new_secret
from services.openlora import sealing
from services.openlora.sealing import Head

TRACE = Trace(
    response="responses/" + "1" * 32,
    base="a base",
    base_sha256="0" * 64,
    adapter="",
    prompt_token_ids=(70001, 70002, 70003),
    completion_token_ids=(80001, 80002),
    sampling={"max_tokens": 5, "temperature": "0", "stop": ["a stop text"]},
    finish_reason="stop",
    payer="accounts/0x" + "a" * 40,
    lease="leases/1",
    fee=2**70,
    platform_fee=7,
    start_time="2026-01-02T03:04:05.000000Z",
    end_time="2026-01-02T03:04:06.000000Z",
    engine="fake 1",
)
KEY = DataKey("k1", new_secret())


def test_what_is_sealed_is_opened_again_by_its_key():
    assert sealing.unseal(sealing.seal(TRACE, "1" * 32, KEY), "1" * 32, KEY.secret) == TRACE


def test_nothing_of_the_text_is_in_the_entry():
    entry = sealing.seal(TRACE, "1" * 32, KEY)
    for told in (b"70001", b"80001", b"a stop text", b"prompt", KEY.secret):
        assert told not in entry
    assert "secret" not in repr(KEY)


def test_the_head_is_in_clear_and_the_same_for_an_entry_of_before():
    head = Head(TRACE.payer, "leases/1", 2**70, TRACE.digest(), 3, 2, "stop", "2026-01-02T03:04:06.000000Z")
    assert sealing.head_of(sealing.seal(TRACE, "1" * 32, KEY)) == head
    assert sealing.head_of(TRACE.dumps()) == head
    assert sealing.data_key_of(sealing.seal(TRACE, "1" * 32, KEY)) == "k1"


def test_an_entry_of_before_is_read_without_a_key():
    assert sealing.data_key_of(TRACE.dumps()) == ""
    assert sealing.unseal(TRACE.dumps(), "1" * 32, b"") == TRACE


def test_the_books_find_lease_and_fee_by_the_names_that_they_have_in_a_trace():
    sealed, plain = json.loads(sealing.seal(TRACE, "1" * 32, KEY)), json.loads(TRACE.dumps())
    assert (sealed["lease"], sealed["fee"]) == (plain["lease"], plain["fee"])


def test_the_same_trace_is_never_sealed_the_same_way_twice():
    assert sealing.seal(TRACE, "1" * 32, KEY) != sealing.seal(TRACE, "1" * 32, KEY)


@pytest.mark.parametrize("field", ("fee", "lease", "payer", "trace_sha256", "time", "data_key", "box"))
def test_a_changed_entry_is_not_opened(field):
    document = json.loads(sealing.seal(TRACE, "1" * 32, KEY))
    first = document[field][0]
    document[field] = ("A" if first != "A" else "B") + document[field][1:]
    with pytest.raises(Unopened):
        sealing.unseal(canonical.dumps(document), "1" * 32, KEY.secret)


def test_neither_another_key_nor_another_place_opens_an_entry():
    entry = sealing.seal(TRACE, "1" * 32, KEY)
    with pytest.raises(Unopened):
        sealing.unseal(entry, "1" * 32, new_secret())
    with pytest.raises(Unopened):
        sealing.unseal(entry, "2" * 32, KEY.secret)
