"""What records of before are like is found while others come in, and no record keeps the others waiting."""

from __future__ import annotations

import threading

from sqlalchemy import select, update

from services.datanet import liken, sealing, store_records
from services.datanet.tables import KEY, LIKENESS
from tests.alike import ADA, BOB, TEXT, sentences
from tests.contract.test_datanet_liken import broken, found, here, kept, left, likening, missing, ready, wipe

__all__ = ["here", "likening", "missing"]


def test_others_come_in_while_it_is_found(here, likening, monkeypatch):
    here.give(ADA, TEXT)
    wipe(here)
    like, in_hand, go, own = sealing.liken, threading.Event(), threading.Event(), sentences(1, 9)[0]

    def slow(*arguments):
        if not in_hand.is_set():
            in_hand.set()
            assert go.wait(30)
        return like(*arguments)

    monkeypatch.setattr(sealing, "liken", slow)
    finding = threading.Thread(target=found, args=(likening,))
    finding.start()
    assert in_hand.wait(30)
    other = threading.Thread(target=here.give, args=(BOB, own), kwargs={"datanet": "open"})
    other.start()
    other.join(5)
    came_in = not other.is_alive()
    go.set()
    finding.join(30)
    other.join(30)
    assert came_in
    assert here.count(LIKENESS) == 2


def test_where_nothing_is_missing_nothing_is_written(here, likening, missing, monkeypatch):
    here.give(ADA, TEXT)
    missing.set(5)
    monkeypatch.setattr(here.database, "write", None)
    assert (found(likening), left(missing)) == (0, 0)


def test_a_record_of_which_it_cannot_be_found_keeps_no_other_waiting(here, likening, missing, monkeypatch):
    names = here.give(ADA, *sentences(3, 5)).first.values()
    bad = here.of(next(iter(names))).id
    wipe(here)
    like = sealing.liken

    def fails(vault, record, *more):
        if record == bad:
            raise ValueError("nobody thought of such a text")
        return like(vault, record, *more)

    with monkeypatch.context() as patch:
        patch.setattr(sealing, "liken", fails)
        assert (found(likening), left(missing)) == (2, 1)
    assert ready(likening)
    assert found(likening) == 1


def test_long_records_are_read_a_few_at_a_time(here, likening, monkeypatch):
    texts = sentences(7, 5)
    here.give(ADA, *texts)
    wipe(here)
    monkeypatch.setattr(liken, "_BYTES", 3 * len(texts[0]))
    pages, contents = [], store_records.contents
    monkeypatch.setattr(
        store_records, "contents", lambda c, vault, ids: pages.append(len(ids)) or contents(c, vault, ids)
    )
    assert found(likening) == 7
    assert max(pages) < 3
    monkeypatch.setattr(liken, "_BYTES", 1)
    wipe(here)
    assert found(likening) == 7


def test_a_record_whose_key_was_wrapped_again_meanwhile_is_found_the_next_time(here, likening, monkeypatch):
    record = here.of(here.give(ADA, TEXT).first[0]).id
    wipe(here)
    contents = store_records.contents

    def then(connection, vault, ids):
        said = contents(connection, vault, ids)
        broken(here, record)
        return said

    (wrapped,) = [key for _, key in here.database.read_now(lambda c: c.execute(select(KEY)).all())]
    with monkeypatch.context() as patch:
        patch.setattr(store_records, "contents", then)
        assert (found(likening), kept(here)) == (0, {})
    here.run(update(KEY).values(wrapped=wrapped))
    assert (found(likening), list(kept(here))) == (1, [record])
