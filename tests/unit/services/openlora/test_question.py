"""What may be asked, and when two requests are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openledger import names
from openledger.trace import Trace
from services.kit.errors import Fault
from services.openlora.engine import ChatMessage, Sampling
from services.openlora.question import Limits, Question, answered_by, check_conversation
from tests.context_world import Snapshot, bytewise, placed

QUESTION = Question("id", "accounts/0x" + "a" * 40, "base", (1, 2, 3), {"max_tokens": 10, "temperature": "0"})
LIMITS = Limits(prompt=20, answer=50, context=60)
TRACE = Trace(
    response=QUESTION.response,
    base="b",
    base_sha256="0" * 64,
    adapter="",
    prompt_token_ids=(1, 2, 3),
    completion_token_ids=(4,),
    sampling={"max_tokens": 10, "temperature": "0"},
    finish_reason="stop",
    payer=QUESTION.payer,
    lease="leases/1",
    fee=1,
    platform_fee=0,
    start_time="",
    end_time="",
    engine="",
)


def reason(check, *arguments) -> str:
    with pytest.raises(Fault) as caught:
        check(*arguments)
    return caught.value.reason


def asking(tokens: int, prompt: int) -> Question:
    return replace(QUESTION, prompt=(7,) * prompt, sampling={"max_tokens": tokens, "temperature": "0"})


def test_a_response_is_named_by_payer_and_request_id_alone():
    assert replace(QUESTION, model="x", prompt=(9,), sampling={}).response == QUESTION.response
    assert replace(QUESTION, request_id="other").response != QUESTION.response
    assert replace(QUESTION, payer="accounts/0x" + "b" * 40).response != QUESTION.response


def test_a_response_bears_the_name_of_the_replica_that_gives_it():
    named = replace(QUESTION, replica="openlora-1")
    assert named.response == f"responses/openlora-1.{QUESTION.key}"
    assert (answered_by(named.key), answered_by(QUESTION.key)) == ("openlora-1", "")
    assert {choice.replica for choice in named.choices(3)} == {"openlora-1"}
    longest = replace(QUESTION, replica="x" * 63)
    assert names.match("responses/*", longest.response) == (longest.key,)


def test_several_answers_are_questions_of_their_own_names_and_seeds():
    first, second, third = replace(QUESTION, sampling={"max_tokens": 1, "temperature": "1", "seed": 2**32 - 2}).choices(
        3
    )
    assert (first.request_id, second.request_id, third.request_id) == ("id", "id#1", "id#2")
    assert [each.sampling["seed"] for each in (first, second, third)] == [2**32 - 2, 2**32 - 1, 0]
    assert len({first.response, second.response, third.response}) == 3
    assert {(each.prompt, each.payer, each.model) for each in (first, second, third)} == {
        (QUESTION.prompt, QUESTION.payer, QUESTION.model)
    }
    assert [dict(each.sampling) for each in QUESTION.choices(2)] == [QUESTION.sampling] * 2
    assert QUESTION.choices(1) == [QUESTION]


@pytest.mark.parametrize(("tokens", "prompt"), ((50, 10), (40, 20), (1, 20)))
def test_what_is_within_the_limits_is_taken(tokens, prompt):
    LIMITS.check(asking(tokens, prompt))


@pytest.mark.parametrize(
    ("tokens", "prompt", "expected"),
    ((51, 1, "TOO_MANY_TOKENS"), (1, 21, "PROMPT_TOO_LONG"), (50, 11, "PROMPT_TOO_LONG"), (41, 20, "PROMPT_TOO_LONG")),
)
def test_what_passes_a_limit_is_refused(tokens, prompt, expected):
    assert reason(LIMITS.check, asking(tokens, prompt)) == expected


def test_a_sampling_parameter_that_the_engine_does_not_obey_is_refused_and_named():
    wanting = replace(QUESTION, sampling={"max_tokens": 1, "temperature": "0", "min_p": "0.1", "logprobs": 0})
    with pytest.raises(Fault) as caught:
        replace(LIMITS, samples=frozenset({"logprobs"})).check(wanting)
    assert (caught.value.reason, caught.value.metadata["parameters"]) == ("UNSUPPORTED_SAMPLING", "min_p")
    replace(LIMITS, samples=frozenset({"logprobs", "min_p"})).check(wanting)


def test_a_trace_of_the_same_question_is_recognised():
    QUESTION.check_same(TRACE)
    adapter = "adapters/a/revisions/b"
    replace(QUESTION, model=adapter).check_same(replace(TRACE, adapter=adapter))


@pytest.mark.parametrize(
    "change", ({"prompt_token_ids": (1, 2)}, {"adapter": "adapters/a/revisions/b"}, {"sampling": {}})
)
def test_a_trace_of_another_question_is_not(change):
    assert reason(QUESTION.check_same, replace(TRACE, **change)) == "REQUEST_ID_REUSED"


def test_who_may_have_the_trace_belongs_to_the_question():
    asked, salted = replace(QUESTION, publish=True), replace(TRACE, salt="5a" * 32, published=True)
    asked.check_same(salted)
    assert reason(QUESTION.check_same, salted) == "REQUEST_ID_REUSED"
    assert reason(asked.check_same, replace(salted, published=False)) == "REQUEST_ID_REUSED"
    assert asked.asked_again(QUESTION).reason == "REQUEST_ID_REUSED"
    asked.check_same(TRACE)  # of before anybody could say so


def test_records_are_not_published_with_a_question():
    context, prompt = placed([(Snapshot.of(), 0)], bytewise, (1,), (2,))
    asked = replace(QUESTION, context=context, prompt=prompt, publish=True)
    wide = replace(LIMITS, prompt=1000, context=1100)
    assert reason(wide.check, asked) == "CANNOT_PUBLISH"
    wide.check(replace(asked, publish=False))
    wide.check(replace(QUESTION, publish=True))


def test_asking_again_meanwhile_is_told_apart_from_another_question():
    assert QUESTION.asked_again(QUESTION).reason == "IN_PROGRESS"
    assert QUESTION.asked_again(replace(QUESTION, prompt=(8,))).reason == "REQUEST_ID_REUSED"


def test_the_engine_gets_the_numbers_that_the_trace_spells():
    document = {"max_tokens": 5, "temperature": "0.7", "top_p": "0.9", "top_k": 3, "seed": 1, "stop": ["a", "b"]}
    assert replace(QUESTION, sampling=document).how == Sampling(5, 0.7, 0.9, 3, 1, ("a", "b"))
    assert QUESTION.how == Sampling(10)
    more = {"min_p": "0.1", "presence_penalty": "-1", "frequency_penalty": "2", "repetition_penalty": "1.5"}
    document = {"max_tokens": 5, "temperature": "0", **more, "logprobs": 3, "json_schema": "{}"}
    assert replace(QUESTION, sampling=document).how == Sampling(
        5,
        min_p=0.1,
        presence_penalty=-1,
        frequency_penalty=2,
        repetition_penalty=1.5,
        logprobs=3,
        json_schema="{}",
    )


@pytest.mark.parametrize(
    ("turns", "expected"),
    (((("root", "x"),), "UNKNOWN_ROLE"), ((("user", "x"), ("assistant", "y")), "NOTHING_ASKED")),
)
def test_what_is_no_conversation_is_refused(turns, expected):
    assert reason(check_conversation, [ChatMessage(*turn) for turn in turns]) == expected


def test_a_text_that_cannot_fit_is_refused_by_its_characters():
    LIMITS.check_length(["x" * 320, "y" * 320])
    with pytest.raises(Fault, match="641 characters; at most 20 tokens") as caught:
        LIMITS.check_length(["x" * 320, "y" * 321])
    assert caught.value.reason == "PROMPT_TOO_LONG"
    assert caught.value.metadata["prompt_characters"] == "641"
