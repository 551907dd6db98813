"""Records before a question: proven, each theirs whose it is, and taken out token by token."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.context import MAX_CHARACTERS, OPENING, Context, ContextError, Placed, check_records, from_json
from openledger.visible import VERSION
from tests.context_world import ANN, BOB, CID, TEXTS, Snapshot, bytewise, placed

HERBS = Snapshot.of()
LONG = TEXTS[0][1]
EDITED = LONG.replace("first drawn", "earliest described")


def context(*leaves: int, snapshot: Snapshot = HERBS) -> tuple[Context, tuple[int, ...]]:
    return placed([(snapshot, leaf) for leaf in leaves], bytewise, (1, 7), (8, 9))


def test_a_record_is_its_contributors_in_that_snapshot():
    for leaf in range(len(TEXTS)):
        HERBS.record(leaf).check(HERBS.root)


@pytest.mark.parametrize(
    "change",
    (
        {"contributor": BOB},
        {"fields": {"text": LONG + " "}},
        {"fields": {"other": LONG}},
        {"source": "elsewhere"},
        {"salt": bytes(32)},
        {"leaf": 1},
        {"size": 5},
        {"path": ()},
        {"path": (bytes(32), bytes(32))},
    ),
)
def test_a_text_is_credited_to_nobody_who_did_not_give_it(change):
    with pytest.raises(ContextError, match="it is not what accounts/0x"):
        replace(HERBS.record(0), **change).check(HERBS.root)


def test_a_record_of_another_snapshot_is_refused():
    with pytest.raises(ContextError, match="it is not what"):
        HERBS.record(0).check(Snapshot.of(TEXTS[::-1]).root)


@pytest.mark.parametrize(
    ("change", "words"),
    (
        ({"salt": b"short"}, "32 bytes"),
        ({"contributor": "me"}, "not an address"),
        ({"snapshot": "datanets/herbs"}, "datanets/\\*/snapshots/\\*"),
        ({"fields": {"text": " \n"}}, "says nothing"),
        ({"fields": {"text": "x" * MAX_CHARACTERS}}, "at most 8000"),
    ),
)
def test_what_is_no_record_is_refused_with_a_reason(change, words):
    with pytest.raises(ContextError, match=words):
        replace(HERBS.record(0), **change).check(HERBS.root)


def test_a_record_reads_as_its_fields_do():
    record = HERBS.record(0)
    assert record.text == LONG + "\n\n"
    assert replace(record, fields={"term": "lid", "about": "eyes", "empty": " "}).text == "about: eyes\nterm: lid\n\n"


def test_without_a_record_the_prompt_is_what_is_left_token_for_token():
    some, prompt = context(0, 1, 2)
    some.check(prompt)
    some.check_tokens(prompt, bytewise)
    without_bob, _ = context(0, 2)
    assert some.without(prompt, {BOB}) == (
        1, 7, *(token for text in without_bob.texts for token in bytewise(text)), 8, 9
    )  # fmt: skip
    assert some.without(prompt, set()) == prompt


def test_without_any_record_the_opening_is_gone_too():
    some, prompt = context(0, 1)
    assert some.bare(prompt) == some.without(prompt, {ANN, BOB}) == (1, 7, 8, 9)


def test_a_contributors_records_are_taken_out_together():
    some, prompt = context(0, 3, 1)
    assert some.authors() == (ANN, ANN, BOB)
    _, expected = context(1)
    assert some.without(prompt, {ANN}) == expected


def test_a_text_like_an_earlier_one_is_credited_to_the_earlier_ones_contributor_however_the_app_orders_them():
    copied = Snapshot.of([*TEXTS, (CID, EDITED)])
    assert context(4, 0, snapshot=copied)[0].authors() == (ANN, ANN)
    assert context(0, 4, snapshot=copied)[0].authors() == (ANN, ANN)
    assert context(4, snapshot=copied)[0].authors() == (CID,), "nothing is known of what was not passed"


@pytest.mark.parametrize("text", (EDITED, "Short "))
def test_between_datanets_the_first_named_is_the_first(text):
    other = Snapshot.of([(CID, text)], name="datanets/copies/snapshots/1")
    leaf = 0 if text == EDITED else 3
    mine, theirs = (HERBS, leaf), (other, 0)
    some, _ = placed([mine, theirs], bytewise, (1,), (2,))
    assert some.authors() == ((ANN, ANN) if text == EDITED else (ANN, CID))
    some, _ = placed([theirs, mine], bytewise, (1,), (2,))
    assert some.authors() == ((CID, CID) if text == EDITED else (CID, ANN))


def test_short_texts_that_say_the_same_are_one():
    other = Snapshot.of([(CID, " short")], name="datanets/copies/snapshots/1")
    some, _ = placed([(HERBS, 3), (other, 0)], bytewise, (1,), (2,))
    assert some.authors() == (ANN, ANN)


def test_each_record_is_passed_once_and_not_too_many():
    with pytest.raises(ContextError, match="record 2 is record 0 again"):
        check_records([HERBS.record(0), HERBS.record(1), HERBS.record(0)])
    with pytest.raises(ContextError, match="1 to 8"):
        check_records([])
    many = Snapshot.of([(ANN, f"number {n}") for n in range(9)])
    with pytest.raises(ContextError, match="9 records"):
        check_records([many.record(leaf) for leaf in range(9)])


@pytest.mark.parametrize(
    ("change", "words"),
    (
        ({"start": -1}, "within the prompt"),
        ({"start": 5}, "within the prompt"),
        ({"opening": 0}, "within the prompt"),
        ({"records": ()}, "1 to 8"),
    ),
)
def test_a_context_lies_within_its_prompt(change, words):
    some, prompt = context(0)
    with pytest.raises(ContextError, match=words):
        replace(some, **change).check(prompt)


def test_a_prompt_is_more_than_its_records():
    some, prompt = placed([(HERBS, 0)], bytewise, (), ())
    with pytest.raises(ContextError, match="no question"):
        some.check(prompt)


def test_every_record_is_proven():
    some, prompt = context(0, 1)
    forged = replace(some.records[1].record, contributor=ANN)
    with pytest.raises(ContextError, match="record 1: it is not what"):
        replace(some, records=(some.records[0], Placed(forged, HERBS.root, some.records[1].tokens))).check(prompt)


def test_tokens_say_what_the_records_do():
    some, prompt = context(0, 1)
    for place in (2, 2 + len(OPENING), len(prompt) - 3):
        with pytest.raises(ContextError, match="do not say"):
            some.check_tokens((*prompt[:place], 50, *prompt[place + 1 :]), bytewise)


def test_it_comes_back_from_its_document():
    some, _ = context(2, 0)
    assert from_json(some.to_json()) == some


@pytest.mark.parametrize(
    ("change", "words"),
    (
        ({"template": "openledger.context.v0"}, "known here is openledger.context.v1"),
        ({"start": -1}, "whole number"),
        ({"opening": True}, "whole number"),
    ),
)
def test_what_is_no_context_is_refused(change, words):
    with pytest.raises(ContextError, match=words):
        from_json(context(0)[0].to_json() | change)


def test_whose_texts_are_is_told_by_the_version_of_its_time():
    found, _ = context(0, 1)
    assert found.to_json()["compared"] == found.compared == VERSION
    before = replace(found, compared=1)
    assert "compared" not in before.to_json()
    assert from_json(before.to_json()) == before
    glued = Snapshot.of(((ANN, LONG), (BOB, LONG.replace(" ", "_"))))
    now, _ = context(0, 1, snapshot=glued)
    assert (now.authors(), replace(now, compared=1).authors()) == ((ANN, ANN), (ANN, BOB))


@pytest.mark.parametrize("compared", (0, VERSION + 1, True, "2"))
def test_a_version_that_is_not_known_is_not_guessed_at(compared):
    with pytest.raises(ContextError):
        from_json(context(0)[0].to_json() | {"compared": compared})
