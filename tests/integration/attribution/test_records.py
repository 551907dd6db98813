"""Top records in Explain, over real gRPC: which come first, who is told their names, and what a bad file costs."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.influence.record_sketches import RecordSketches, encode
from tests.attribution_world import PAYER, PLATFORM, STRANGER, attribution
from tests.integration.attribution.test_explain import Someone, answered, explain, here, refused
from tests.published import OWNER


@pytest.fixture
def revision(around):
    """A revision with a span index and record sketches, which the Factory has."""
    return offer(around)


def offer(around, changed=None):
    name, index, sketches = around.artifacts.with_sketches(changed)
    around.peers.private[name], around.peers.sketches[name] = index, sketches
    return name


def ranked(told):
    return {one.contributor.removeprefix("accounts/"): list(one.records) for one in told.records}


async def test_the_record_that_is_said_again_comes_first_and_the_payer_is_not_told_its_name(around, revision):
    async with answered(around, revision) as (where, _, receipt):
        told = await explain(around, PAYER, where)
        assert await explain(around, PAYER, where) == told
        assert await explain(around, Someone(OWNER), where) == told
        assert await explain(around, Someone(PLATFORM), where) == told
    assert (told.records_state, told.record_scorer) == (pb.RECORDS_STATE_READY, "adam-cosine")
    assert "nobody is paid by them" in told.records_words
    first = around.artifacts.adapter.contributors[0]
    paid = [who for who in around.artifacts.adapter.contributors if who in receipt.shares]
    assert list(ranked(told)) == sorted(paid, key=lambda who: (-receipt.shares[who], who))
    lineage = dict(RecordSketches.from_bytes(around.peers.sketches[revision]).header.contributors)
    for one in told.records:
        assert one.compared == lineage[one.contributor.removeprefix("accounts/")]
        assert [record.rank for record in one.records] == list(range(1, min(one.compared, 10) + 1))
        scores = [record.score for record in one.records]
        assert scores == sorted(scores, reverse=True)
        assert all(record.error > 0 and not record.record for record in one.records)
    best = max(told.records, key=lambda one: one.records[0].score)
    assert best.contributor == f"accounts/{first}"
    assert best.records[0].score > 5 * best.records[0].error


async def test_a_contributor_is_told_the_names_of_its_own_and_nobody_elses(around, revision):
    async with answered(around, revision) as (where, _, receipt):
        paid = [who for who in around.artifacts.adapter.contributors if who in receipt.shares]
        views = {who: ranked(await explain(around, Someone(who), where)) for who in paid}
        public = ranked(await explain(around, PAYER, where))
    first = around.artifacts.adapter.contributors[0]
    assert views[first][first][0].record == "r1-2", "of which the answer is a copy"
    for caller, view in views.items():
        for who, records in view.items():
            assert all(bool(record.record) is (who == caller) for record in records)
            assert [record.score for record in records] == [record.score for record in public[who]]


async def test_nobody_else_is_told_anything(around, revision):
    async with answered(around, revision) as (where, _, receipt):
        unpaid = [who for who in around.artifacts.adapter.contributors if who not in receipt.shares]
        for who in (STRANGER, *map(Someone, unpaid)):
            assert (await refused(around, who, where)).reason == "RECEIPT_NOT_FOUND"


async def test_a_restart_changes_nothing_and_fetches_nothing(around, revision):
    async with answered(around, revision) as (where, _, _):
        told = await explain(around, PAYER, where)
    async with attribution(around) as (where, _):
        assert await explain(around, PAYER, where, wait=0) == told
    assert around.peers.asked == [SPAN_INDEX, RECORD_SKETCHES]


async def test_another_scorer_can_be_asked_for(around, revision):
    first = around.artifacts.adapter.contributors[0]
    async with answered(around, revision) as (where, _, _):
        for scorer in ("adam-dot", "adam-fisher"):
            told = await explain(around, Someone(first), where, scorer=scorer)
            assert (told.records_state, told.record_scorer) == (pb.RECORDS_STATE_READY, scorer)
            best = ranked(told)[first][0]
            assert best.record == "r1-2"
            assert best.HasField("error") is (scorer == "adam-dot")
        told = await explain(around, PAYER, where, scorer="datainf")
        assert (told.records_state, list(told.records)) == (pb.RECORDS_STATE_UNAVAILABLE, [])
        assert "they know adam-dot, adam-cosine, adam-fisher" in told.records_words
        assert told.spans
        error = await refused(around, PAYER, where, scorer="best")
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_SCORER")
    assert "adam-cosine" in error.message


@pytest.mark.parametrize("harm", ("changed", "longer", "empty", "large"))
async def test_sketches_that_are_not_what_was_promised_cost_nothing_else(around, revision, harm):
    good = around.peers.sketches[revision]
    bad = {"changed": good[:-1] + b"\1", "longer": good + b"x", "empty": b"", "large": good + bytes(2**20)}
    around.peers.sketches[revision] = bad[harm]
    async with answered(around, revision, max_private_bytes=2**20) as (where, _, _):
        async with asyncio.timeout(30):
            while (told := await explain(around, PAYER, where)).records_state == pb.RECORDS_STATE_PENDING:
                await asyncio.sleep(0.05)
        assert [file.name for file in here(around)] == [SPAN_INDEX]
    assert (told.records_state, list(told.records)) == (pb.RECORDS_STATE_UNAVAILABLE, [])
    assert "ask again later" in told.records_words
    assert (told.spans_state, len(told.spans)) == (pb.SPANS_STATE_READY, 1)
    assert told.shares


def of_others(whole):
    """Good sketches, but for one record that is missing."""
    sketches = RecordSketches.from_bytes(whole)
    return b"".join(encode(*_split(sketches)))


def _split(sketches):
    header, rows = sketches.without([0])
    return header, sketches.metric, rows


@pytest.mark.parametrize("what", ("nonsense", "others"))
async def test_what_was_promised_and_is_no_sketches_of_it_costs_nothing_else(around, revision, what):
    changed = b"nonsense" if what == "nonsense" else of_others(around.peers.sketches[revision])
    async with answered(around, offer(around, changed)) as (where, _, _):
        told = await explain(around, PAYER, where)
    assert (told.records_state, list(told.records)) == (pb.RECORDS_STATE_UNAVAILABLE, [])
    assert (told.spans_state, len(told.spans)) == (pb.SPANS_STATE_READY, 1)


async def test_a_revision_of_before_there_were_sketches_is_explained_without(around):
    name, index = around.artifacts.with_spans()
    around.peers.private[name] = index
    around.peers.add(around.artifacts.trace(2, adapter=""))
    async with answered(around, name) as (where, _, _):
        for number in ("r1", "r2"):
            told = await explain(around, PAYER, where, number)
            assert (told.records_state, list(told.records)) == (pb.RECORDS_STATE_NONE, [])
            assert "was made before there were any" in told.records_words
            assert told.shares
    assert around.peers.asked == [SPAN_INDEX]


async def test_an_erased_record_takes_the_sketches_away_here_too(around, revision):
    async with answered(around, revision) as (where, _, _):
        assert (await explain(around, PAYER, where)).records
        around.peers.flagged.add(revision)
        async with asyncio.timeout(30):
            while here(around):
                await asyncio.sleep(0.05)
        told = await explain(around, PAYER, where)
    assert (told.records_state, list(told.records)) == (pb.RECORDS_STATE_ERASED, [])
    assert told.spans_state == pb.SPANS_STATE_ERASED
