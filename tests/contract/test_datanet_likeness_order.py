"""Who came first stays first, whatever others give before, meanwhile or after, on SQLite and PostgreSQL."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from services.datanet import store_likeness
from services.datanet.model import Visibility
from services.datanet.tables import LIKENESS, POSTING
from tests.alike import ADA, BOB, CLEO, NEAR, NEAREST, TEXT, Store, edited, opened, sentences, shuffled


@pytest.fixture
def here(database_url: str, tmp_path) -> Iterator[Store]:
    with opened(database_url, tmp_path) as made:
        yield made


@pytest.mark.parametrize("edits", (2, 3, 4, 5, 6))
def test_ones_own_later_records_that_share_more_hide_no_earlier_one(here, edits):
    rng = random.Random(edits)
    first = here.give(ADA, TEXT).first[0]
    copy = edited(TEXT, edits, rng)
    own = list(dict.fromkeys(shuffled(copy, rng) for _ in range(40)))
    assert len(here.give(BOB, *own, datanet="open").first) == 40
    assert here.give(BOB, copy).alike == {0: first}


@pytest.mark.parametrize("edits", (4, 6))
def test_what_is_like_nothing_hides_nothing_however_much_it_shares_with_the_copy(here, edits):
    rng = random.Random(edits)
    first = here.give(ADA, TEXT).first[0]
    copy = edited(TEXT, edits, rng)
    here.give(CLEO, *dict.fromkeys(shuffled(edited(copy, 4, rng), rng) for _ in range(60)), datanet="open")
    assert here.give(BOB, copy).alike == {0: first}


def test_who_parks_a_record_that_waits_is_not_first_over_what_is_published_meanwhile(here):
    parked, other = here.wait(BOB, NEAR), here.wait(BOB, TEXT.replace("blow", "hit"))
    first = here.give(ADA, TEXT).first[0]
    assert here.confirm(parked, NEAR) == first
    assert here.confirm(other, TEXT.replace("blow", "hit")) == first
    assert here.give(BOB, NEAREST.replace("FALL", "PUSH")).alike == {0: first}


def test_what_waits_is_nothing_to_others_and_comes_in_when_it_is_confirmed(here):
    waits = here.wait(BOB, TEXT)
    assert (here.count(LIKENESS), here.count(POSTING)) == (0, 0)
    own = here.give(CLEO, NEAR).first[0]
    here.erase(own)
    assert here.confirm(waits, TEXT) == ""
    assert here.give(CLEO, NEAREST).alike == {0: waits.name}


def test_erasing_what_came_between_leaves_nobody_unprotected(here):
    """Its features were full when it came: the first sixteen of each have them, until they are erased."""
    rng = random.Random(3)
    flood = here.give(BOB, *dict.fromkeys(shuffled(TEXT, rng) for _ in range(20)), "low blood", datanet="open").first
    author = here.give(ADA, NEAR, datanet="open").first[0]
    for name in flood.values():
        here.erase(name)
    assert here.give(CLEO, NEAREST).alike == {0: author}


def test_a_number_is_never_anothers(here):
    for text in sentences(3, 4):
        here.erase(here.give(ADA, text).first[0])
    word, upload = here.upload(BOB, NEAR)
    looked = here.looked(upload)
    since = here.give(ADA, TEXT).first[0]
    assert here.alike(word, upload, looked) == {0: since}
    assert here.database.read_now(store_likeness.last) == 4


def test_whose_first_ones_are_erased_meanwhile_is_told_of_the_next(here):
    first = here.give(ADA, TEXT).first[0]
    second = here.give(CLEO, NEAREST.replace("FALL", "PUSH"), datanet="open").first[0]
    word, upload = here.upload(BOB, NEAR)
    looked = here.looked(upload)
    here.erase(first)
    assert here.alike(word, upload, looked) == {0: second}
    here.erase(second)
    assert here.alike(word, upload, looked) == {}


def test_what_lies_in_anothers_private_datanet_is_nothing_and_ones_own_there_came_first(here):
    here.give(ADA, TEXT, datanet="closed")
    assert list(here.give(CLEO, NEAR).first) == [0]
    assert list(here.give(ADA, NEAREST.replace("FALL", "PUSH")).first) == [0]


def test_whoever_closes_an_open_datanet_hides_nothing_that_came_in_before(here):
    author = here.give(ADA, TEXT, datanet="open").first[0]
    waits = here.wait(ADA, sentences(1, 1)[0], datanet="open")
    for _ in range(2):
        here.close("open")
        assert here.give(BOB, NEAR).alike == {0: author}
        here.give(ADA, sentences(1, 2)[0], datanet="open")
    assert here.confirm(waits, sentences(1, 1)[0]) == ""
    rng = random.Random(1)
    since = [edited(sentences(1, seed)[0], 2, rng) for seed in (1, 2)]
    assert here.give(BOB, *since).alike == {}, "what came in since is for its members"
    here.erase(author)
    assert here.give(BOB, NEAR).alike == {}


def test_what_a_datanet_was_given_as_a_private_one_stays_nothing_to_others(here):
    here.close("open")
    here.close("open", Visibility.PUBLIC)  # as long as it is empty
    here.close("open")
    for datanet in ("open", "closed"):
        here.give(ADA, TEXT, datanet=datanet)
        here.close(datanet)
    assert list(here.give(CLEO, NEAR).first) == [0]


def test_who_comes_later_is_later_whatever_the_clocks_say(here):
    """Of several processes, or one that was set back."""
    author = here.give(ADA, TEXT, datanet="open").first[0]
    waits = here.wait(BOB, NEAREST.replace("FALL", "PUSH"), datanet="open")
    here.clock = itertools.count(1)
    here.give(BOB, NEAR, datanet="open")
    here.confirm(waits, NEAREST.replace("FALL", "PUSH"))
    assert here.give(CLEO, TEXT.replace("calcium", "lime")).alike == {0: author}
