"""Explain over real gRPC: who is told what of a receipt, and what becomes of spans when the index cannot be had."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest

from openledger import receipt as receipts
from openledger.adapters import SPAN_INDEX
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.client import ApiError, Client
from services.factory import data
from services.kit.testing import as_service, endpoints
from tests.attribution_world import PAYER, PLATFORM, STRANGER, attribution, get
from tests.published import OWNER

ANSWER = "It is 2, says 1."
"""What record r1-2 of the first contributor teaches, word for word."""


@dataclass(frozen=True)
class Someone:
    """An account whose key nobody has; a session of it can be issued all the same."""

    address: str


async def explain(around, who, where, number="r1", wait=20.0, scorer=""):
    async with around.client(who, where) as client:
        request = pb.ExplainRequest(name=f"receipts/{number}", wait_seconds=wait, record_scorer=scorer)
        return await client.call(client.attribution.Explain, request)


async def refused(around, who, where, number="r1", scorer=""):
    with pytest.raises(ApiError) as caught:
        await explain(around, who, where, number, wait=0, scorer=scorer)
    return caught.value


@pytest.fixture
def revision(around):
    """A revision with a span index, which the Factory has."""
    name, index = around.artifacts.with_spans()
    around.peers.private[name] = index
    return name


@asynccontextmanager
async def answered(around, revision, *, published=True, **more):
    """The service, with one receipt of that revision; gives its address and the receipt."""
    around.peers.add(around.artifacts.salted(1, adapter=revision, published=published))
    async with attribution(around, private_check_seconds=0.2, **more) as (where, assembly):
        receipt = receipts.parse((await get(around, PAYER, where, "r1", wait=20)).document)
        yield where, assembly, receipt


def here(around):
    """Private files that the service has."""
    return [file for file in (around.folder / "attribution" / "private").rglob("*") if file.is_file()]


async def test_the_payer_is_told_why_and_which_words_stand_in_records_of_those_it_pays(around, revision):
    async with answered(around, revision) as (where, _, receipt):
        told = await explain(around, PAYER, where)
    assert {share.key: int(share.amount) for share in told.shares} == receipt.shares
    assert all(share.words for share in told.shares)
    amounts = [int(share.amount) for share in told.shares]
    assert amounts == sorted(amounts, reverse=True)
    assert "provisional" in told.words[-1]
    assert told.answer_tokens == len(around.artifacts.completion)
    assert told.spans_state == pb.SPANS_STATE_READY
    first = around.artifacts.adapter.contributors[0]
    assert first in receipt.shares
    [span] = told.spans
    assert (span.start_token, span.end_token) == (0, len(ANSWER)), "not the end-of-turn token"
    tokenizer = data.load_tokenizer(around.artifacts.adapter.base)
    text = tokenizer.decode(around.artifacts.completion, skip_special_tokens=True)
    assert text[span.start_character : span.end_character] == ANSWER
    assert span.rarity_bits > 20
    assert [(s.contributor, s.record_count, s.occurrences, list(s.records)) for s in span.sources] == [
        (f"accounts/{first}", 1, 1, [])
    ]


async def test_a_contributor_is_told_its_own_records_and_nobody_elses(around, revision):
    trace = around.artifacts.trace(1)
    tokens = trace.completion_token_ids[:-1] * 2
    around.peers.add(around.artifacts.salted(2, completion_token_ids=tokens, adapter=revision, published=True))
    async with answered(around, revision) as (where, _, receipt):
        paid = [who for who in around.artifacts.adapter.contributors if who in receipt.shares]
        views = {who: await explain(around, Someone(who), where) for who in paid}
    first = around.artifacts.adapter.contributors[0]
    assert first in views
    for who, told in views.items():
        [span] = told.spans
        assert [list(source.records) for source in span.sources] == [["r1-2"] if who == first else []]


async def test_developer_and_platform_see_what_the_payer_sees(around, revision):
    async with answered(around, revision) as (where, _, _):
        told = await explain(around, PAYER, where)
        assert await explain(around, Someone(OWNER), where) == told
        assert await explain(around, Someone(PLATFORM), where) == told


@pytest.mark.parametrize("kind", ("spans", "sketches"))
async def test_what_a_private_answer_quotes_and_resembles_is_its_payers_and_operators_alone(around, kind):
    """Who is paid hears how much and why, and nothing of the words."""
    if kind == "spans":
        revision, around.peers.private[revision] = around.artifacts.with_spans()
    else:
        revision, around.peers.private[revision], around.peers.sketches[revision] = around.artifacts.with_sketches()
    operators = (PLATFORM,)
    async with answered(around, revision, published=False, operators=operators) as (where, _, receipt):
        mine = await explain(around, PAYER, where)
        paid = [who for who in around.artifacts.adapter.contributors if who in receipt.shares]
        untold = [await explain(around, Someone(who), where) for who in (OWNER, *paid)]
        assert await explain(around, Someone(PLATFORM), where) == mine
        await forget(around, where)
        gone = await explain(around, Someone(OWNER), where)
        assert (await explain(around, PAYER, where)).spans_state == pb.SPANS_STATE_FORGOTTEN
    assert len(mine.spans) == 1
    assert bool(mine.records) is (kind == "sketches")
    assert paid
    for told in (*untold, gone):
        assert (told.spans_state, told.records_state) == (pb.SPANS_STATE_PRIVATE, pb.RECORDS_STATE_PRIVATE)
        assert (list(told.spans), list(told.records), told.answer_tokens) == ([], [], 0)
        assert "their payer's alone" in told.spans_words
        assert "their payer's alone" in told.records_words
        assert (told.words, told.shares) == (mine.words, mine.shares)


async def test_a_private_answer_is_not_waited_for_by_who_may_not_read_it(around, revision):
    """An index that does not come would tell by the time that it takes that there is none."""
    del around.peers.private[revision]
    async with answered(around, revision, published=False) as (where, _, _):
        async with asyncio.timeout(5):
            told = await explain(around, Someone(OWNER), where, wait=30)
    assert told.spans_state == pb.SPANS_STATE_PRIVATE


async def forget(around, where):
    async with around.client(PAYER, where) as client:
        await client.call(client.attribution.ForgetAnswers, pb.ForgetAnswersRequest())


async def test_nobody_else_is_told_anything(around, revision):
    async with answered(around, revision) as (where, _, receipt):
        unpaid = [who for who in around.artifacts.adapter.contributors if who not in receipt.shares]
        for who in (STRANGER, *map(Someone, unpaid)):
            error = await refused(around, who, where)
            assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "RECEIPT_NOT_FOUND")
        request = pb.ExplainRequest(name="receipts/r1")
        for name in ("ledger", "datanet", "factory", "openlora", "attribution"):
            async with as_service(name, attribution=where) as service:
                with pytest.raises(ApiError, match="NOT_FOR_THIS_CALLER"):
                    await service.call(service.attribution.Explain, request)
        async with Client(endpoints(attribution=where)) as nobody:
            with pytest.raises(ApiError, match="SIGN_IN"):
                await nobody.call(nobody.attribution.Explain, request)
        assert (await refused(around, PAYER, where, "nothing")).reason == "RECEIPT_NOT_FOUND"


async def test_without_an_index_numbers_are_told_and_why_there_are_no_spans(around):
    around.peers.add(around.artifacts.trace(2, adapter=""))
    async with answered(around, around.artifacts.adapter.revision) as (where, _, _):
        for number in ("r1", "r2"):
            told = await explain(around, PAYER, where, number)
            assert (told.spans_state, list(told.spans)) == (pb.SPANS_STATE_NONE, [])
            assert "was made before" in told.spans_words
            assert told.shares
    assert "answered alone" in told.words[1]
    assert around.peers.offsets == []


async def test_what_the_question_says_itself_is_not_shown(around, revision):
    tokenizer = data.load_tokenizer(around.artifacts.adapter.base)
    prompt = data.prompt_ids(f"Say: {ANSWER}", tokenizer)
    around.peers.add(around.artifacts.trace(2, adapter=revision, prompt_token_ids=prompt))
    async with answered(around, revision) as (where, _, _):
        told = await explain(around, PAYER, where, "r2")
    assert (told.spans_state, list(told.spans)) == (pb.SPANS_STATE_READY, [])


async def test_an_erased_record_takes_the_index_away_here_too(around, revision):
    async with answered(around, revision) as (where, _, _):
        assert (await explain(around, PAYER, where)).spans
        assert [file.name for file in here(around)] == [SPAN_INDEX]
        around.peers.flagged.add(revision)
        while here(around):
            assert (await explain(around, PAYER, where)).shares
        told = await explain(around, PAYER, where)
    assert (told.spans_state, list(told.spans)) == (pb.SPANS_STATE_ERASED, [])
    assert told.shares


async def test_what_was_erased_before_it_was_asked_for_never_comes(around, revision):
    around.peers.flagged.add(revision)
    async with answered(around, revision) as (where, _, _):
        assert (await explain(around, PAYER, where)).spans_state == pb.SPANS_STATE_ERASED
    assert here(around) == []


async def test_what_was_erased_while_the_service_was_down_goes_when_it_starts(around, revision):
    async with answered(around, revision) as (where, _, _):
        assert (await explain(around, PAYER, where)).spans
    around.peers.flagged.add(revision)
    async with attribution(around) as (where, _):
        while here(around):
            assert (await explain(around, PAYER, where, wait=0)).shares
        assert (await explain(around, PAYER, where)).spans_state == pb.SPANS_STATE_ERASED
