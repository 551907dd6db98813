"""What is told of records that were given, by what the service answers and by what it says of them now."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest

from openledger import giving
from openledger.cli.giver import ACCEPTED, BEFORE, REFUSED, UNSENT, WAITING, Giver
from openledger.client import ApiError, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb

ADA, BOB = (Wallet("0x" + digits * 32) for digits in ("11", "22"))
NAME = "datanets/terms/records/" + "0" * 32
UNAVAILABLE, EXHAUSTED, INVALID = (
    getattr(grpc.StatusCode, name) for name in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
)
SCREENED = pb.RecordOutcome(state=pb.RECORD_STATE_SCREENED, record=NAME, reason="PERSONAL_DATA", message="an e-mail")
DUPLICATE = pb.RecordOutcome(state=pb.RECORD_STATE_REJECTED, first=NAME, reason="DUPLICATE", message="said earlier")


class FakeDatanet:
    """Answers uploads in turn, and has one record, or none."""

    def __init__(self, *answers, record=None):
        self.answers, self.record, self.request_ids = list(answers), record, []
        self.client = SimpleNamespace(wallet=ADA, call=self.get, datanet=SimpleNamespace(GetRecord=None))

    async def get(self, method, request):
        if self.record is None:
            raise ApiError(grpc.StatusCode.NOT_FOUND, "RECORD_NOT_FOUND", "there is none", {}, None)
        assert request.name == self.record.name
        return self.record

    async def sent(self, client, wallet, into, part, request_id=""):
        self.request_ids.append(request_id)
        answer = self.answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return pb.ContributeRecordsResponse(outcomes=[answer])


@pytest.fixture
def giver(monkeypatch):
    def made(service, **how):
        monkeypatch.setattr(giving, "sent", service.sent)
        return Giver(service.client, pb.Datanet(name="datanets/terms", licence="MIT"), **how)

    return made


def error(code, reason):
    return ApiError(code, reason, "words", {}, None)


def part(text="one"):
    return [pb.ParsedRecord(fields={"text": text}, source="a")]


def record(state, by=ADA):
    return pb.Record(name=NAME, contributor=by.account, state=state)


@pytest.mark.parametrize(
    ("answer", "now", "state"),
    (
        (SCREENED, record(pb.RECORD_STATE_SCREENED), WAITING),
        (SCREENED, record(pb.RECORD_STATE_ACCEPTED), ACCEPTED),
        (SCREENED, record(pb.RECORD_STATE_WITHDRAWN), BEFORE),
        (SCREENED, None, WAITING),
        (DUPLICATE, record(pb.RECORD_STATE_ACCEPTED), BEFORE),
        (DUPLICATE, record(pb.RECORD_STATE_SCREENED), WAITING),
        (DUPLICATE, record(pb.RECORD_STATE_ACCEPTED, BOB), REFUSED),
        (DUPLICATE, None, REFUSED),
    ),
)
async def test_a_record_is_told_of_as_it_stands_now_and_as_whose_it_is(giver, answer, now, state):
    (outcome,) = await giver(FakeDatanet(answer, record=now)).give(part())
    assert (outcome.state, outcome.record) == (state, "" if state == REFUSED else NAME)


@pytest.mark.parametrize(("code", "in_doubt"), ((UNAVAILABLE, True), (EXHAUSTED, False)))
async def test_after_what_ends_it_nothing_more_is_sent_and_where_no_answer_came_that_is_said(giver, code, in_doubt):
    service = FakeDatanet(error(code, "WHY"))
    mine = giver(service)
    (first,), (second,) = await mine.give(part()), await mine.give(part("two"))
    assert [(o.state, o.reason) for o in (first, second)] == [(UNSENT, "WHY")] * 2
    assert ("may have been taken" in first.message, "may have been taken" in second.message) == (in_doubt, False)
    assert (len(service.request_ids), mine.stopped.reason) == (1, "WHY")


async def test_a_part_that_cannot_be_answered_as_before_is_not_sent_again_unless_it_is_to_come_back(giver):
    taken = pb.RecordOutcome(state=pb.RECORD_STATE_ACCEPTED, record=NAME)
    reused = error(INVALID, "REQUEST_ID_REUSED")
    mine = giver(service := FakeDatanet(reused, taken))
    (first,), (second,) = await mine.give(part()), await mine.give(part("two"))
    assert (first.state, second.state, mine.stopped, service.request_ids) == (BEFORE, ACCEPTED, None, ["", ""])
    back = giver(service := FakeDatanet(reused, taken), brings_back=True)
    assert [o.state for o in await back.give(part())] == [ACCEPTED]
    assert service.request_ids[0] == "" != service.request_ids[1]
    anew = giver(service := FakeDatanet(taken, taken), anew=True)
    await anew.give(part())
    await anew.give(part("two"))
    assert "" not in service.request_ids
    assert len(set(service.request_ids)) == 2


async def test_a_suggestion_that_changes_nothing_is_none(giver):
    refused = pb.RecordOutcome(state=pb.RECORD_STATE_REJECTED, reason="PERSONAL_DATA", message="a name")
    for suggested, told in (("one", {}), ("[NAME 1]", {"text": "[NAME 1]"})):
        refused.suggested_fields["text"] = suggested
        (outcome,) = await giver(FakeDatanet(refused)).give(part())
        assert dict(outcome.suggested) == told
        assert ("in the source" in outcome.message) == (not told)
