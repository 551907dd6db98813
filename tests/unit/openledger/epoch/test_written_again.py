"""A bundle that is written again is the one that the chain names, whatever the chain told of splits meanwhile."""

from __future__ import annotations

import asyncio
import time
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from services.ledger.store import epochs, splits
from services.ledger.store.tables import SPLIT_CHANGE
from tests.epoch_world import LAG, Ledger, failed
from tests.splits_world import FIRST, OWN, SECOND, A, answered


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """For many examples, each with an epoch and revisions of its own."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    yield ledger, count(1)
    ledger.database.close()


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.database.close()


def published(ledger: Ledger) -> str:
    """The digest of the newest epoch's bundle, which is made anew: the folder has lost it."""
    epoch = ledger.database.read_now(epochs.newest)
    if epoch.bundle:
        ledger.artifacts._place(epoch.bundle).unlink()
    return asyncio.run(ledger.bundles.publish(epoch, ledger.pen()))


@pytest.mark.parametrize(
    ("before", "after"), ((None, OWN), (FIRST, FIRST), (FIRST, SECOND)), ids=("registered", "same", "other")
)
def test_what_is_known_only_later_leaves_a_bundle_as_it_was(ledger, before, after):
    """Of before the answer ended, in a block that did not count yet.  With the same parts it is the one of its time."""
    now = int(time.time())
    if before is not None:
        ledger.hold(A, before, now - 5_000)
    ledger.give(answered(A, before or OWN, now - 20))
    ledger.seal()
    digest = published(ledger)
    ledger.hold(A, after, now - 30)
    assert published(ledger) == digest
    assert ledger.check(digest).ok


def test_with_another_lag_a_bundle_of_before_is_the_same(ledger):
    ledger.hold(A, FIRST, int(time.time()) - LAG - 5)
    ledger.give(answered(A, OWN, int(time.time()) - LAG - 20))
    ledger.seal()
    digest = published(ledger)
    ledger.bundles._lag = 60
    assert published(ledger) == digest


def test_one_that_is_sealed_again_names_what_holds_then(ledger):
    """Struck out, it is another bundle: what the first one said of splits is of no matter."""
    ledger.hold(A, FIRST, int(time.time()) - 5_000)
    ledger.give(answered(A, OWN, int(time.time()) - 5_100))
    epoch = ledger.seal()
    digest = published(ledger)
    ledger.veto(epoch)
    ledger.write(lambda c: splits.forget_after(c, 0))
    ledger.seal()
    again = published(ledger)
    untils = [[line["until"] for line in ledger.manifest(one)["splits"]["held"]] for one in (digest, again)]
    assert [until != [None] for until in untils] == [True, False]
    assert published(ledger) == again


PARTS = st.sampled_from((OWN, FIRST, SECOND))
TOLD = st.one_of(
    st.tuples(st.just("change"), PARTS, st.integers(-2 * LAG, LAG)),
    st.tuples(st.just("taken back"), st.integers(0, 5)),
    st.tuples(st.just("lag"), st.sampled_from((60, LAG, 7 * 86_400))),
)
ANSWERS = st.lists(st.tuples(PARTS, st.integers(-3 * LAG, 0)), min_size=1, max_size=4)


@settings(max_examples=30)
@given(st.lists(TOLD, max_size=4), ANSWERS, st.lists(TOLD, min_size=1, max_size=4))
def test_whatever_the_chain_told_meanwhile_the_bytes_are_the_same(world, before, answers, between):
    ledger, numbers = world
    now, revision = int(time.time()), f"adapters/x/revisions/{next(numbers):064x}"
    begin = ledger.database.read_now(lambda c: c.execute(select(func.max(SPLIT_CHANGE.c.block))).scalar() or 0)

    def happens(what, *more):
        if what == "change":
            ledger.hold(revision, more[0], now + more[1])
        elif what == "taken back":
            ledger.write(lambda c: splits.forget_after(c, begin + more[0]))
        else:
            ledger.bundles._lag = more[0]

    for one in before:
        happens(*one)
    ledger.give(*(answered(revision, split, now + ended) for split, ended in answers))
    epoch = ledger.seal()
    digest = published(ledger)
    found = ledger.check(digest)
    for one in between:
        happens(*one)
        assert published(ledger) == digest
    assert ledger.check(digest) == found, failed(found)
    ledger.activate(epoch)
