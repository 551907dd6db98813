"""Records that read like an earlier one in the Datanet's store, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import select

from services.datanet import sealing, store, store_alike, store_records
from services.datanet.likeness import BANDS, Sketch
from services.datanet.model import RecordState
from services.datanet.shares import Shares
from services.datanet.tables import FIRST, KEY, LIKENESS, POSTING
from services.datanet.vault import Vault
from services.datanet.vault import place as place_of_share
from tests.alike import ADA, BOB, CLEO, NEAR, NEAREST, TEXT, Given, Store, edited, opened, sentences


@pytest.fixture
def here(database_url: str, tmp_path) -> Iterator[Store]:
    with opened(database_url, tmp_path) as made:
        yield made


def looked_at(here: Store, *texts: str):
    """An upload of Bob's that was compared with what came before it, and is not taken yet."""
    word, upload = here.upload(BOB, *texts)
    return word, upload, here.looked(upload)


def test_what_was_compared_before_is_not_compared_again_while_others_wait(here, monkeypatch):
    first = here.give(ADA, TEXT, "a text of its own that nobody else has said before").first[0]
    waiting = looked_at(here, NEAR, "and one that is wholly different from any other here")
    opened, open_sketch = [], sealing.open_sketch
    monkeypatch.setattr(sealing, "open_sketch", lambda *given: opened.append(1) or open_sketch(*given))
    assert here.alike(*waiting) == {0: first}
    assert opened == []


def test_an_upload_that_was_not_compared_before_is_compared_with_nothing_while_others_wait(here, monkeypatch):
    """Its datanet's owner asks for it only since: then it is sent again (`Upload.check_current`)."""
    here.give(ADA, TEXT)
    word, upload = here.upload(BOB, NEAR)
    opened, open_sketch = [], sealing.open_sketch
    monkeypatch.setattr(sealing, "open_sketch", lambda *given: opened.append(1) or open_sketch(*given))
    assert (here.alike(word, upload, None), opened) == ({}, [])


def test_what_came_after_it_was_compared_is_seen(here):
    waiting = looked_at(here, NEAR)
    since = here.give(ADA, TEXT).first[0]
    assert here.alike(*waiting) == {0: since}


def test_what_came_before_stays_first(here):
    first = here.give(ADA, TEXT).first[0]
    waiting = looked_at(here, NEAR)
    here.give(CLEO, NEAREST, datanet="open")
    assert here.alike(*waiting) == {0: first}


def test_what_was_erased_since_is_free_again(here):
    first = here.give(ADA, TEXT).first[0]
    here.give(ADA, "a text of its own that nobody else has said before")
    waiting = looked_at(here, NEAR)
    here.erase(first)
    assert here.alike(*waiting) == {}


@pytest.mark.parametrize("datanet", ("strict", "open", "crediting"))
def test_what_reads_like_anothers_earlier_record_in_any_datanet_is_told_where_the_owner_asks_for_that(here, datanet):
    first = here.give(ADA, "something else that nobody else is going to say here", TEXT, datanet=datanet)
    found = here.give(BOB, NEAR, "what this says has no more than these words of its own to say", NEAREST)
    assert found.alike == {0: first.first[1], 2: first.first[1]}
    assert list(found.first) == [1]
    assert here.count(FIRST) == 3, "what is not taken is not written down as the first to say it"
    assert here.give(BOB, NEAR, datanet="open").alike == {}
    assert here.give(CLEO, TEXT.lower(), datanet="crediting").alike == {}


def test_what_says_the_same_is_a_duplicate_as_ever(here):
    first = here.give(ADA, TEXT).first[0]
    assert here.give(BOB, f" {TEXT}\n") == Given({0: first}, {})
    assert here.give(ADA, TEXT) == Given({0: first}, {})


def test_nobody_is_refused_for_what_it_said_first_itself(here):
    own = here.give(ADA, TEXT, NEAR).first
    assert len(set(own.values())) == 2
    here.give(BOB, NEAREST, datanet="open")
    again = here.give(ADA, TEXT.replace("calcium", "lime"))
    assert (list(again.first), again.alike) == ([0], {})


def test_the_first_of_all_that_are_alike_is_named(here):
    first = here.give(ADA, NEAR, datanet="open").first[0]
    here.give(BOB, TEXT, datanet="open")
    assert here.give(CLEO, NEAREST).alike == {0: first}
    assert here.give(BOB, NEAREST).alike == {0: first}


def test_an_upload_of_the_same_text_twice_is_like_the_same_record(here):
    first = here.give(ADA, TEXT).first[0]
    assert here.give(BOB, NEAR, NEAR).alike == {0: first, 1: first}


def test_texts_of_few_words_are_alike_where_they_have_the_same_words(here):
    first = here.give(ADA, "Low blood pressure.", "Fever").first
    found = here.give(BOB, "low blood pressure", "High blood pressure.", "fever", "!")
    assert (found.alike, sorted(found.first)) == ({0: first[0]}, [1, 2, 3])


def test_who_adds_many_like_an_earlier_record_hides_nothing_and_little_is_compared(here, monkeypatch):
    rng = random.Random(7)
    here.give(BOB, *sentences(50, 1))
    first = here.give(ADA, TEXT).first[0]
    flood = dict.fromkeys(edited(TEXT, 2, rng) for _ in range(60))
    here.give(BOB, *flood, datanet="open")
    here.give(BOB, *(edited(TEXT, 2, rng) for _ in range(60)), datanet="open")
    opened, open_sketch = [], sealing.open_sketch
    monkeypatch.setattr(sealing, "open_sketch", lambda *given: opened.append(1) or open_sketch(*given))
    for _ in range(5):
        assert here.give(BOB, edited(TEXT, 2, rng)).alike == {0: first}
    assert len(opened) <= 5 * store_alike.KEPT * BANDS
    assert len(opened) >= 5 * store_alike.KEPT


def test_an_erased_record_is_like_nothing_any_more_and_a_withdrawn_one_keeps_its_author(here):
    erased, stays = here.give(ADA, TEXT, sentences(1, 3)[0]).first.values()
    withdrawn = here.of(stays)
    here.database.write_now(lambda c: store_records.move(c, withdrawn, RecordState.WITHDRAWN, "", 6000))
    here.erase(erased)
    kept = select(LIKENESS.c.record).where(LIKENESS.c.box != b"")
    left = here.database.read_now(lambda c: c.execute(kept).scalars().all())
    assert left == [withdrawn.id]
    assert here.count(POSTING) == BANDS
    found = here.give(BOB, NEAR, edited(sentences(1, 3)[0], 2, random.Random(1)))
    assert (list(found.first), found.alike) == ([0], {1: stays})


def test_a_record_whose_key_is_overwritten_meanwhile_is_passed_over(here):
    first = here.of(here.give(ADA, TEXT).first[0])
    wrapped = here.database.read_now(lambda c: c.execute(select(KEY.c.wrapped)).scalar_one())
    assert here.give(BOB, NEAR).alike == {0: first.name}
    here.vault.destroy(place_of_share(wrapped))
    assert here.give(BOB, NEAR).alike == {}


def test_what_is_kept_says_nothing_without_the_vaults_key(here, tmp_path):
    here.give(ADA, TEXT)
    (row,) = here.database.read_now(lambda c: c.execute(select(LIKENESS)).all())
    plain = sealing.liken(here.vault, "r", here.vault.seal(b"", b"record r").wrapped, {"text": TEXT})
    assert plain.sketch[4:36] not in row.box
    kept = set(here.database.read_now(lambda c: c.execute(select(POSTING.c.feature)).scalars()))
    assert kept == set(plain.features)
    elsewhere = Vault(b"l" * 32, Shares(tmp_path / "others"))
    assert kept.isdisjoint(sealing.feature_tokens(elsewhere, Sketch.from_bytes(plain.sketch)))


def race(here: Store, variants: Sequence[Sequence[str]]) -> list[Given]:
    """All at once, each in an order of its own; what became of each, by the text's place."""
    results: dict[int, Given] = {}
    gate = threading.Barrier(len(variants))

    def run(runner: int) -> None:
        texts = variants[runner]
        order = random.Random(runner).sample(range(len(texts)), len(texts))
        gate.wait()
        for start in range(0, len(order), 100):
            part = order[start : start + 100]
            found = here.give(f"0x{runner:040x}", *(texts[place] for place in part))
            mine = results.get(runner, Given({}, {}))
            results[runner] = Given(
                mine.first | {part[i]: name for i, name in found.first.items()},
                mine.alike | {part[i]: name for i, name in found.alike.items()},
            )

    threads = [threading.Thread(target=run, args=(runner,)) for runner in range(len(variants))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    return [results[runner] for runner in range(len(variants))]


def check_race(here: Store, results: Sequence[Given], texts: int) -> None:
    """Each text has one owner, whose record came first, and every other one was told of it."""
    for place in range(texts):
        owners = {found.first[place] for found in results if place in found.first}
        assert len(owners) == 1
        assert {found.alike[place] for found in results if place in found.alike} <= owners
        assert all((place in found.first) != (place in found.alike) for found in results)
    assert here.count(LIKENESS) == texts
    assert here.database.read_now(lambda c: store.get(c, "strict")).record_count == texts


def test_of_four_who_race_with_variants_of_the_same_texts_each_text_gets_one_author(here):
    rng = random.Random(11)
    texts = sentences(25, 11)
    results = race(here, [[edited(text, 1, rng) for text in texts] for _ in range(4)])
    check_race(here, results, 25)
    assert sum(len(found.alike) for found in results) == 75


@pytest.mark.parametrize("edits", (0, 1), ids=("same", "alike"))
def test_of_sixteen_who_race_with_the_same_500_records_each_record_gets_one_author(here, edits):
    rng = random.Random(13)
    texts = sentences(500, 13)
    results = race(here, [[edited(text, edits, rng) for text in texts] for _ in range(16)])
    check_race(here, results, 500)
