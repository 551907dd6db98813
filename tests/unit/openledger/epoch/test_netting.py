"""Two implementations of the split, and of netting, give the same to the unit."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openledger import split
from openledger.epoch.netting import Net, base_part, provisional
from openledger.split import NAT, Answer, Evidence, Rule
from tests.split_world import EVIDENCE, RULES, fees


def document(evidence: Evidence) -> dict:
    return {
        "nll_base": str(evidence.nll_base),
        "nll_model": str(evidence.nll_model),
        "scores": {who: str(score) for who, score in evidence.scores.items()},
        "placebos": [str(placebo) for placebo in evidence.placebos],
        "errors": {who: str(error) for who, error in evidence.errors.items()},
        "trust_bps": evidence.trust_bps,
    }


@given(fees(), EVIDENCE, RULES)
def test_an_answers_shares(money: tuple[int, int], evidence: Evidence, rule: Rule) -> None:
    fee, platform_fee = money
    receipt = {
        "fee": str(fee),
        "platform_fee": str(platform_fee),
        "evidence": document(evidence),
        "rule": rule.to_json(),
    }
    if evidence.retrieval:
        receipt["retrieval"] = {
            "nll_base": str(evidence.retrieval.nll_base),
            "nll_model": str(evidence.retrieval.nll_model),
            "scores": {who: str(score) for who, score in evidence.retrieval.scores.items()},
        }
    assert provisional(receipt) == split.split_fee(fee, platform_fee, evidence, rule)


ANSWERS = st.lists(st.tuples(st.integers(0, 10**30), EVIDENCE), max_size=6)


@given(ANSWERS, RULES)
def test_answers_that_are_settled_together(answers: list[tuple[int, Evidence]], rule: Rule) -> None:
    net = Net(asdict(rule))
    for money, evidence in answers:
        net.add(money, document(evidence))
    assert net.settled() == split.settle([Answer(*answer) for answer in answers], rule)
    assert sum(net.settled().values()) == net.money


@given(st.integers(-NAT, 60 * NAT) | st.integers(0, 2**40))
@example(0)
@example(1)
@example(50 * NAT - 1)
def test_the_bases_part(gain: int) -> None:
    context = split._EXP
    exact = context.exp(context.divide(Decimal(-max(0, gain)), Decimal(NAT)))
    assert base_part(gain) * 10**18 == int(context.to_integral_value(context.scaleb(exact, 18)))


def test_what_does_not_fit_together_is_refused() -> None:
    who = "0x" + "a" * 40
    good = document(Evidence(2 * NAT, NAT, {who: NAT}, (1,), {who: 0}))
    for change in ({"errors": {}}, {"errors": {who: "-1"}}, {"trust_bps": 10_001}):
        with pytest.raises(ValueError, match="do not fit together"):
            Net(asdict(Rule())).add(1, good | change)
    with pytest.raises(ValueError, match="cannot hold"):
        provisional({"fee": "1", "platform_fee": "2", "rule": asdict(Rule()), "evidence": good})
