"""What records of before are like is found while the service serves, and goes with them when they are erased."""

from __future__ import annotations

import asyncio
import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import delete, insert, select, update

from openledger import records
from services.datanet import liken, sealing, store_likeness
from services.datanet.liken import Likening
from services.datanet.tables import ERASURE, FIRST, KEY, LIKENESS, POSTING
from services.datanet.vault import place
from services.kit.errors import Fault
from tests.alike import ADA, BOB, CLEO, NEAR, NEAREST, TEXT, Store, edited, opened, sentences


@pytest.fixture
def here(database_url: str, tmp_path) -> Iterator[Store]:
    with opened(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def missing() -> Gauge:
    return Gauge("missing", "Left", registry=CollectorRegistry())


@pytest.fixture
def likening(here, missing) -> Likening:
    return Likening(here.database, here.vault, missing)


def found(likening: Likening) -> int:
    return asyncio.run(likening.all())


def left(missing: Gauge) -> float:
    (metric,) = missing.collect()
    return metric.samples[0].value


def ready(likening: Likening) -> bool:
    with suppress(Fault):
        asyncio.run(likening.check())
        return True
    with pytest.raises(Fault, match="nothing was taken") as refused:
        asyncio.run(likening.check())
    assert (refused.value.reason, refused.value.retry_after) == ("NOT_COMPARED_YET", 30)
    return False


def wipe(here: Store) -> None:
    """As a database of before is."""
    here.run(delete(POSTING), delete(LIKENESS))


def kept(here: Store) -> dict[str, int]:
    """Of each record that something is kept of, when it came."""
    query = select(LIKENESS.c.record, LIKENESS.c.came).where(LIKENESS.c.box != b"")
    return dict(map(tuple, here.database.read_now(lambda c: c.execute(query).all())))


def broken(here: Store, *records: str) -> dict[str, bytes]:
    """Their keys, which open no more."""
    query = select(KEY).where(KEY.c.record.in_(records))
    keys = dict(map(tuple, here.database.read_now(lambda c: c.execute(query).all())))
    here.run(update(KEY).where(KEY.c.record.in_(records)).values(wrapped=b"w" * 60))
    return keys


def test_what_was_broken_off_goes_on_and_all_are_found_by_when_they_came(here, likening, missing, monkeypatch):
    texts = sentences(260, 5)
    made = here.give(ADA, *texts).first
    here.erase(made[3])
    before, postings = kept(here), here.count(POSTING)
    wipe(here)
    like, calls = sealing.liken, 0

    def dies(*arguments):
        nonlocal calls
        calls += 1
        if calls == 230:
            raise RuntimeError("the power went out")
        return like(*arguments)

    monkeypatch.setattr(sealing, "liken", dies)
    with pytest.raises(RuntimeError):
        found(likening)
    assert (here.count(LIKENESS), left(missing)) == (200, 59)
    assert not ready(likening)
    assert found(likening) == 59
    assert ready(likening)
    assert (found(likening), left(missing)) == (0, 0)
    assert (kept(here), here.count(POSTING)) == (before, postings)
    rng = random.Random(1)
    given = here.give(BOB, *(edited(text, 3, rng) for text in texts[:40]))
    assert given.alike == {n: made[n] for n in range(40) if n != 3}


def test_where_nothing_is_missing_all_is_ready_at_once(here, likening):
    assert ready(likening)
    here.wait(ADA, TEXT)  # which has not come in
    here.give(ADA, sentences(1, 1)[0])
    assert ready(Likening(here.database, here.vault, likening._missing))


def test_a_record_that_is_found_late_is_first_by_when_it_came(here, likening):
    """Copies came meanwhile, as in a rolling update, and one of them is the copier's own."""
    author = here.give(ADA, TEXT).first[0]
    wipe(here)
    rng = random.Random(1)
    assert here.give(BOB, NEAR).alike == {}
    here.give(BOB, *dict.fromkeys(edited(TEXT, 1, rng) for _ in range(40)), datanet="open")
    found(likening)
    for who in (BOB, CLEO):
        assert here.give(who, NEAREST).alike == {0: author}


def test_one_that_waited_came_when_it_was_confirmed(here, likening):
    waits = here.wait(BOB, NEAR, datanet="open")
    author = here.give(ADA, TEXT).first[0]
    assert here.confirm(waits, NEAR) == ""
    before = kept(here)
    wipe(here)
    parked = here.wait(BOB, NEAREST.replace("FALL", "PUSH"))
    assert found(likening) == 2
    assert kept(here) == before
    assert parked.id not in before
    assert here.give(BOB, TEXT.replace("blow", "hit")).alike == {0: author}


def test_those_that_nobody_can_open_are_passed_over_and_found_once_they_open_again(here, likening, missing):
    texts = sentences(250, 5)
    made = here.give(ADA, *texts).first
    closed = sorted(here.of(name).id for name in made.values())[20:200]
    keys = broken(here, *closed)
    wipe(here)
    assert found(likening) == 70
    assert left(missing) == 180
    assert ready(likening), "they are like nothing, and keep nobody waiting"
    again = Likening(here.database, here.vault, missing)
    assert found(again) == 0
    copy = edited(texts[0], 2, random.Random(1))
    place_ = here.of(made[0]).id
    for record, wrapped in keys.items():
        here.run(update(KEY).where(KEY.c.record == record).values(wrapped=wrapped))
    assert found(again) == 180
    assert (left(missing), here.of(made[0]).id) == (0, place_)
    assert here.give(BOB, copy).alike == {0: made[0]}


def test_a_page_is_no_longer_where_more_are_closed(here, likening):
    """Each statement has as many parameters as ever, and each record is looked at once."""
    made = here.give(ADA, *sentences(120, 5)).first
    broken(here, *(here.of(name).id for name in made.values()))
    wipe(here)
    pages, missing = [], store_likeness.missing

    def counted(connection, after, limit):
        pages.append(missing(connection, after, limit))
        return pages[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_likeness, "missing", counted)
        found(likening)
    assert [len(page) for page in pages] == [100, 20, 0]


def test_a_record_that_is_erased_while_its_likeness_is_found_leaves_nothing(here, likening, monkeypatch):
    name = here.give(ADA, TEXT).first[0]
    wipe(here)
    like, in_hand, go = sealing.liken, threading.Event(), threading.Event()

    def slow(*arguments):
        in_hand.set()
        assert go.wait(30)
        return like(*arguments)

    monkeypatch.setattr(sealing, "liken", slow)
    finding = threading.Thread(target=found, args=(likening,))
    erasing = threading.Thread(target=here.erase, args=(name,))
    finding.start()
    assert in_hand.wait(30)
    erasing.start()
    erasing.join(0.5)
    go.set()
    finding.join(30)
    erasing.join(30)
    assert (here.count(POSTING), kept(here)) == (0, {})
    assert here.count(ERASURE) == 1


def test_what_an_earlier_version_left_of_an_erased_record_goes(here, likening):
    erased, stays = here.give(ADA, TEXT, "low blood pressure").first.values()
    record = here.of(erased)
    row = {"record": record.id, "operation": "o", "reason": "", "told": "", "share": b"", "create_time": 1}
    here.run(insert(ERASURE).values(row), delete(KEY).where(KEY.c.record == record.id))
    found(likening)
    assert list(kept(here)) == [here.of(stays).id]
    assert here.count(POSTING) == 1


@pytest.mark.parametrize("lost", ("key", "share", "later"))
def test_what_does_not_open_any_more_is_erased_with_all_its_features(here, lost):
    name = here.give(ADA, TEXT).first[0]
    record = here.of(name).id
    if lost == "key":
        broken(here, record)
    elif lost == "share":
        wrapped = here.database.read_now(lambda c: c.execute(select(KEY.c.wrapped)).scalar_one())
        here.vault.destroy(place(wrapped))
    else:
        here.run(update(LIKENESS).values(box=b"of a later version"))
    here.erase(name)
    assert (here.count(POSTING), kept(here)) == (0, {})
    assert here.count(LIKENESS, LIKENESS.c.features != b"") == 0
    assert here.give(BOB, NEAR).alike == {}


def known_as_before(here: Store, name: str, text: str) -> None:
    """By a token of another form of its text, as by a version of before."""
    token = sealing.fingerprint_token(here.vault, records.comparable(text, 1).encode())
    here.run(delete(FIRST).where(FIRST.c.record == name), insert(FIRST).values(fingerprint=token, record=name))


def firsts(here: Store) -> list[str]:
    return list(here.database.read_now(lambda c: c.execute(select(FIRST.c.record).order_by(FIRST.c.record)).scalars()))


def test_what_was_known_by_an_earlier_form_is_known_again_and_its_author_stays_first(here, likening):
    hidden, other = TEXT.replace("femur", "fe\u034fmur"), sentences(2, 8)
    author, plain = here.give(ADA, TEXT, other[0]).first.values()
    copy, own = here.give(BOB, NEAR, "a rare\u3164disease of the bones", datanet="open").first.values()
    known_as_before(here, copy, hidden)
    known_as_before(here, own, "a rare\u3164disease of the bones")
    wipe(here)
    found(likening)
    assert firsts(here) == sorted([author, plain, copy, own])
    assert here.give(CLEO, "a rare disease\u2800of the bones").first == {0: own}
    for name in (author, copy, own):
        here.erase(name)
    assert firsts(here) == [plain]


def test_what_is_erased_before_it_is_known_again_leaves_no_token(here):
    (name,) = here.give(ADA, TEXT).first.values()
    known_as_before(here, name, TEXT)
    here.erase(name)
    assert firsts(here) == []


def test_a_copy_that_hid_behind_what_shows_nothing_is_first_of_nothing(here, likening, monkeypatch):
    author = here.give(ADA, TEXT).first[0]
    hidden = TEXT.replace("femur", "fe\u034fmur")
    with monkeypatch.context() as patch:
        patch.setattr(records, "fingerprint", lambda fields: b"of an earlier form" + fields["text"].encode())
        copy = here.give(BOB, hidden, datanet="open").first[0]
    assert firsts(here) == sorted([author, copy])
    wipe(here)
    found(likening)
    assert firsts(here) == [author]
    here.erase(copy)
    assert firsts(here) == [author]


HEART, PLAIN = "a text with a heart \u2764\ufe0f in its midst", "a text with a heart \u2764 in its midst"
"""The same by the form of now, and not by the one of before."""


@pytest.mark.parametrize("ids", ((1, 2), (2, 1)), ids=("author first", "copy first"))
@pytest.mark.parametrize("texts", ((HEART, PLAIN), (PLAIN, HEART), (HEART, HEART)), ids=("copy", "author", "both"))
def test_of_those_that_are_the_same_by_the_form_of_now_alone_the_earlier_is_first(
    here, likening, monkeypatch, ids, texts
):
    """Whatever their ids, by which they are gone through; and the author's may be found last."""
    names = []
    for who, number, text in zip((ADA, BOB), ids, texts, strict=True):
        with monkeypatch.context() as patch:
            patch.setattr(uuid, "uuid4", lambda n=number: uuid.UUID(int=n))
            names.append(here.give(who, text, datanet="open").first[0])
        here.run(delete(FIRST))
    for name, text in zip(names, texts, strict=True):
        if texts[0] != texts[1] or name == names[0]:
            known_as_before(here, name, text)
    if texts[0] == texts[1]:  # given between the update and this, as nobody's
        token = sealing.fingerprint_token(here.vault, records.fingerprint({"text": HEART}))
        here.run(insert(FIRST).values(fingerprint=token, record=names[1]))
    wipe(here)
    monkeypatch.setattr(liken, "_AT_ONCE", 1)
    found(likening)
    assert firsts(here) == names[:1]
    assert here.give(CLEO, PLAIN, datanet="open").first == {0: names[0]}
