from __future__ import annotations

import pytest

from openledger.ledger.v1 import ledger_pb2
from openledger.split import Rule
from services.attribution.score import Terms
from services.attribution.terms import BadTerms, LedgerTerms, read_terms

PLATFORM = "0x" + "f" * 40
RULE = Rule()


def info(rule: Rule = RULE, sha256: str = "", platform: str = f"accounts/{PLATFORM}") -> ledger_pb2.SettlementInfo:
    stated = ledger_pb2.SplitRule(**rule.to_json(), sha256=sha256 or rule.digest())
    return ledger_pb2.SettlementInfo(rule=stated, platform=platform)


class Ledger:
    """As much of a client as terms need."""

    def __init__(self) -> None:
        self.ledger, self.GetSettlementInfo, self.calls, self.answer = self, "GetSettlementInfo", 0, info()

    async def call(self, method, request, timeout):
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
