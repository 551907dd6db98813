"""An answer as far as it got: what it is made of, and what its trace says and costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.money import Price
from openledger.trace import parse
from services.openlora.draft import CANCELLED, TIME, Draft, Made
from services.openlora.engine import FinishReason
from services.openlora.question import Question

QUESTION = Question("id", "accounts/0x" + "a" * 40, "base", (1, 2), {"max_tokens": 3, "temperature": "0"})
MADE, PRICE = Made("tiny", "b" * 64, "fake 1"), Price(1000, 10_000, 7)


def test_a_draft_that_is_cut_off_costs_what_it_has():
    draft = Draft(QUESTION)
    draft.begin()
    draft.add((4,), None)
    draft.add((5,), None)
    draft.close(CANCELLED)
    trace = draft.trace(MADE, PRICE, "leases/1")
    assert (trace.completion_token_ids, trace.finish_reason) == ((4, 5), "cancelled")
    assert (trace.fee, trace.platform_fee, trace.lease) == (7 + 2 + 20, 7, "leases/1")
    assert (trace.base, trace.base_sha256, trace.engine, trace.adapter) == ("tiny", "b" * 64, "fake 1", "")
    assert trace.start_time <= trace.end_time


def test_every_answer_has_a_salt_of_its_own_and_the_word_of_who_asked():
    drafts = [Draft(replace(QUESTION, publish=publish)) for publish in (True, False, False)]
    traces = []
    for draft in drafts:
        draft.add((4,), FinishReason.STOP)
        traces.append(draft.trace(MADE, PRICE, "leases/1"))
        assert draft.trace(MADE, PRICE, "leases/1") == traces[-1]
    assert [trace.published for trace in traces] == [True, False, False]
    assert len({trace.salt for trace in traces}) == 3
    assert all(parse(trace.dumps()) == trace for trace in traces)


@pytest.mark.parametrize("reason", (FinishReason.STOP, FinishReason.LENGTH))
def test_what_the_engine_has_ended_nobody_cuts_off(reason):
    draft = Draft(QUESTION)
    draft.add((4,), reason)
    ended = draft.end
    draft.close(TIME)
    assert (draft.finish_reason, draft.end) == (reason.value, ended)


def test_more_than_was_asked_for_is_not_sold():
    draft = Draft(QUESTION)
    draft.add((4, 5), None)
    with pytest.raises(RuntimeError, match="goes on after 2 of at most 3 tokens"):
        draft.add((6, 7), None)
    assert draft.tokens == [4, 5]
    draft.add((6,), FinishReason.LENGTH)
    with pytest.raises(RuntimeError, match="goes on"):
        draft.add((), None)


def test_an_engine_that_gives_up_has_made_no_answer():
    draft = Draft(QUESTION)
    draft.add((4,), None)
    with pytest.raises(RuntimeError, match="aborted"):
        draft.add((), FinishReason.ABORTED)
    with pytest.raises(RuntimeError, match="without a reason"):
        draft.trace(MADE, PRICE, "leases/1")
