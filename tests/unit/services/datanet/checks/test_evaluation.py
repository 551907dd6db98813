from __future__ import annotations

import hashlib

from services.datanet.checks.evaluation import WORDS, Evaluation, overlap_tokens, runs
from services.datanet.draft import Draft
from services.datanet.model import Policy

ITEM = "The quick brown fox jumps over the lazy dog, and then it sleeps till the morning comes again."
MINE = "a b c d e f g h i j k l m n o p q r s t u v w x y z".split()  # noqa: SIM905


def token(data: bytes) -> bytes:
    return hashlib.blake2b(data, key=b"secret", digest_size=16).digest()


def look(*fields: str, item: str = ITEM):
    registered = overlap_tokens({"": item}, token)
    draft = Draft(0, {f"field-{n}": text for n, text in enumerate(fields)})
    return Evaluation(token, lambda tokens: registered & set(tokens)).look(draft, Policy())


def test_thirteen_words_in_a_row_are_an_overlap_and_twelve_are_none():
    said = ITEM.split()
    assert look(" ".join([*MINE, *said[:WORDS], *MINE])).reason == "IN_EVALUATION_SET"
    assert look(" ".join([*MINE, *said[: WORDS - 1], *MINE])).passed
    assert look(" ".join([*said[: WORDS - 1], "x", *said[WORDS:]])).passed


def test_case_and_punctuation_make_no_difference_and_order_does():
    assert not look(ITEM.upper().replace(",", " --")).passed
    assert look(" ".join(reversed(ITEM.split()))).passed


def test_fields_are_texts_of_their_own():
    said = ITEM.split()
    assert look(" ".join(said[:9]), " ".join(said[9:])).passed
    assert not look("x", ITEM).passed


def test_what_is_shorter_is_compared_whole_and_what_is_shortest_not_at_all():
    assert not look(
        "One two three four five six seven eight!", item="one, two, three, four, five, six, seven, eight"
    ).passed
    assert look("one two three four five six seven eight nine", item="one two three four five six seven eight").passed
    assert look("one two three", item="one two three").passed


def test_nothing_is_asked_of_a_text_without_runs():
    def never(tokens):
        raise AssertionError

    assert Evaluation(token, never).look(Draft(0, {"a": "fever"}), Policy()).passed


def test_runs_of_a_text():
    assert len(runs(" ".join(MINE))) == len(MINE) - WORDS + 1
    assert len(runs(" ".join(MINE[:WORDS]))) == 1
    assert len(runs(" ".join(MINE[:8]))) == 1
    assert runs(" ".join(MINE[:7])) == frozenset()


def test_a_finding_counts_places_and_quotes_nothing():
    found = look(ITEM)
    assert f"in {len(ITEM.split()) - WORDS + 1} places" in found.message
    assert "fox" not in found.message
