from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from openledger.ledger.v1 import ledger_pb2
from openledger.split import Rule
from openledger.trace_proto import time_text
from services.attribution.score import Terms
from services.attribution.terms import BadTerms, LedgerTerms, read_terms

PLATFORM = "0x" + "f" * 40
RULE = Rule()


def info(rule: Rule = RULE, sha256: str = "", platform: str = f"accounts/{PLATFORM}") -> ledger_pb2.SettlementInfo:
    stated = ledger_pb2.SplitRule(**rule.to_json(), sha256=sha256 or rule.digest())
    return ledger_pb2.SettlementInfo(rule=stated, platform=platform)


def version(start: int | None, developer: int = 1, stakers: int = 2, end: int | None = None, rest: int | None = None):
    split = ledger_pb2.RevisionSplit(developer_bps=developer, stakers_bps=stakers)
    split.contributors_bps = 10_000 - developer - stakers if rest is None else rest
    told = ledger_pb2.SplitVersion(split=split)
    if start is not None:
        told.start_time.FromSeconds(start)
    if end is not None:
        told.end_time.FromSeconds(end)
    return told


class Ledger:
    """As much of a client as terms need."""

    def __init__(self) -> None:
        self.ledger, self.GetSettlementInfo, self.calls, self.answer = self, "GetSettlementInfo", 0, info()
        self.GetSplit, self.asked, self.splits = "GetSplit", [], [version(None)]

    async def call(self, method, request, timeout):
        if method == "GetSplit":
            at = request.time.ToSeconds()
            self.asked.append((request.revision, at))
            return [one for one in self.splits if not one.HasField("start_time") or one.start_time.ToSeconds() <= at][
                -1
            ]
        assert (method, request) == ("GetSettlementInfo", ledger_pb2.GetSettlementInfoRequest())
        self.calls += 1
        return self.answer


def test_terms_are_what_the_ledger_states():
    assert read_terms(info(Rule(1, 2, 3))) == Terms(Rule(1, 2, 3), PLATFORM)


@pytest.mark.parametrize(
    ("stated", "words"),
    (
        (info(sha256="0" * 64), "names rule 0000"),
        (info(sha256=Rule(1, 2, 3).digest()), "its parameters are those of"),
        (info(platform=""), "cannot be used"),
        (info(platform=PLATFORM), "cannot be used"),
        (ledger_pb2.SettlementInfo(platform=f"accounts/{PLATFORM}"), "names rule"),
        (
            ledger_pb2.SettlementInfo(
                rule=ledger_pb2.SplitRule(developer_bps=9_000, stakers_bps=9_000), platform=f"accounts/{PLATFORM}"
            ),
            "more than everything",
        ),
    ),
)
def test_terms_that_contradict_themselves_are_refused(stated, words):
    with pytest.raises(BadTerms, match=words):
        read_terms(stated)


async def test_the_ledger_is_asked_again_after_a_while_and_not_for_every_trace():
    ledger = Ledger()
    patient = LedgerTerms(ledger, seconds=1000)
    assert await patient.current() == await patient.current() == Terms(Rule(), PLATFORM)
    assert ledger.calls == 1
    impatient = LedgerTerms(ledger, seconds=0)
    await impatient.current()
    ledger.answer = info(Rule(1, 2, 3))
    assert (await impatient.current()).rule == Rule(1, 2, 3)
    assert ledger.calls == 3


async def test_an_answer_that_cannot_be_used_does_not_leave_the_old_terms_in_force():
    ledger = Ledger()
    terms = LedgerTerms(ledger, seconds=0)
    await terms.current()
    ledger.answer = info(sha256="0" * 64)
    for _ in range(2):
        with pytest.raises(BadTerms):
            await terms.current()


def time(seconds: int) -> str:
    return time_text(datetime.fromtimestamp(seconds, UTC))


async def of(terms, seconds: int, adapter: str = "adapters/a/revisions/b") -> tuple[int, int]:
    rule = (await terms.of(adapter, time(seconds))).rule
    assert replace(rule, developer_bps=RULE.developer_bps, stakers_bps=RULE.stakers_bps) == RULE
    return rule.developer_bps, rule.stakers_bps


async def test_an_answer_is_split_as_the_ledger_says_of_the_time_at_which_it_ended():
    ledger = Ledger()
    ledger.splits = [version(None, end=100), version(100, 1500, 500, end=200), version(200, 5000, 0)]
    terms = LedgerTerms(ledger, seconds=1000)
    own = (RULE.developer_bps, RULE.stakers_bps)
    assert [await of(terms, when) for when in (99, 100, 199, 200, 10**9)] == [
        own, (1500, 500), (1500, 500), (5000, 0), (5000, 0)
    ]  # fmt: skip
    assert [when for _, when in ledger.asked] == [99, 100, 200]
    assert await of(terms, 150) == (1500, 500)
    assert len(ledger.asked) == 4
    assert await of(terms, 150, "") == own
    assert await of(terms, 150, "adapters/c/revisions/d") == (1500, 500)
    assert ledger.asked[4:] == [("adapters/c/revisions/d", 150)]


async def test_a_split_is_asked_for_again_after_a_while():
    ledger = Ledger()
    ledger.splits = [version(100, 1500, 500)]
    terms = LedgerTerms(ledger, seconds=0)
    assert await of(terms, 300) == (1500, 500)
    ledger.splits = [version(100, 1500, 500, end=200), version(200, 5000, 0)]
    assert await of(terms, 300) == (5000, 0)


async def test_no_more_splits_are_held_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("services.attribution.terms.MOST_REVISIONS", 3)
    ledger = Ledger()
    ledger.splits = [version(100)]
    terms = LedgerTerms(ledger, seconds=1000)
    for number in range(10):
        assert await of(terms, 300, f"adapters/a/revisions/{number}") == (1, 2)
        assert len(terms._splits) <= 3


@pytest.mark.parametrize("rest", (0, 9_996, 9_998, 10_000))
async def test_a_split_that_is_none_makes_no_receipt(rest):
    ledger = Ledger()
    ledger.splits = [version(100, rest=rest)]
    with pytest.raises(BadTerms, match="10000 basis points"):
        await of(LedgerTerms(ledger, seconds=1000), 300)


async def test_a_time_that_is_none_is_the_traces_fault():
    with pytest.raises(ValueError, match="not a time"):
        await LedgerTerms(Ledger(), seconds=1000).of("adapters/a/revisions/b", "yesterday")
