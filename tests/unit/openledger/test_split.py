"""From scores to money: exact sums, and what must not pay."""

from __future__ import annotations

import decimal
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openledger.split import (
    BASE,
    DEVELOPER,
    NAT,
    PLATFORM,
    STAKERS,
    UNATTRIBUTED,
    Evidence,
    Rule,
    allocate,
    settle,
    split_fee,
)
from tests import second_opinion
from tests.split_world import (
    ALL_TO_POOL,
    ANSWERS,
    EVIDENCE,
    RULES,
    A,
    B,
    C,
    D,
    fees,
    gained,
    measured,
)


@given(fees(), EVIDENCE, RULES)
def test_every_unit_goes_to_somebody_and_nobody_owes(fee_and_platform, evidence, rule):
    fee, platform_fee = fee_and_platform
    shares = split_fee(fee, platform_fee, evidence, rule)
    assert sum(shares.values()) == fee
    assert all(amount > 0 for amount in shares.values())
    assert shares.get(PLATFORM, 0) == platform_fee


@given(fees(), EVIDENCE, RULES, st.randoms())
def test_the_order_of_contributors_and_placebos_does_not_matter(
    fee_and_platform, evidence, rule, chance: random.Random
):
    items, placebos = list(evidence.scores.items()), list(evidence.placebos)
    chance.shuffle(items)
    chance.shuffle(placebos)
    shuffled = replace(evidence, scores=dict(items), placebos=tuple(placebos))
    assert split_fee(*fee_and_platform, shuffled, rule) == split_fee(*fee_and_platform, evidence, rule)


@given(st.integers(0, 2**128 - 1), st.dictionaries(st.text(max_size=3), st.integers(0, 2**200), min_size=1))
def test_allocation_is_exact_and_off_by_less_than_a_unit(total, weights):
    if not any(weights.values()):
        with pytest.raises(ValueError, match="all weights are zero"):
            allocate(total, weights)
        return
    amounts, everything = allocate(total, weights), sum(weights.values())
    assert sum(amounts.values()) == total
    for key, weight in weights.items():
        assert abs(amounts.get(key, 0) * everything - total * weight) < everything


def test_ties_go_by_the_order_of_the_keys():
    assert allocate(2, {"c": 1, "a": 1, "b": 1}) == {"a": 1, "b": 1}


@pytest.mark.parametrize(("total", "weights"), ((-1, {"a": 1}), (1, {"a": 2, "b": -1})))
def test_nothing_negative_is_divided(total, weights):
    with pytest.raises(ValueError, match="negative"):
        allocate(total, weights)


@given(
    st.integers(2, NAT),
    st.integers(1, 2**64),
    st.integers(0, 2 * NAT),
    st.integers(1, 3 * NAT),
)
def test_splitting_ones_records_over_accounts_brings_nothing(score, part, other, gain):
    """Scores add up over records, so two accounts with a person's records have that person's score between them."""
    mine = score * part // 2**64
    fee = 10**18
    one = split_fee(fee, 0, gained({A: score, C: other}, gain), ALL_TO_POOL)
    two = split_fee(fee, 0, gained({A: mine, B: score - mine, C: other}, gain), ALL_TO_POOL)
    assert abs(two.get(A, 0) + two.get(B, 0) - one.get(A, 0)) <= 2  # of 10**18 units; rounding alone


def test_scores_as_small_as_their_errors_pay_nobody():
    shares = split_fee(
        10**18, 0, gained({A: NAT // 100, B: NAT // 100}, placebos=(NAT // 100,)), Rule(noise_z_milli=1_000)
    )
    assert shares.keys() == {BASE, DEVELOPER, STAKERS, UNATTRIBUTED}


def test_negative_scores_earn_nothing_and_cost_nobody():
    alone = split_fee(10**18, 0, gained({A: NAT // 2}), Rule())
    with_harm = split_fee(10**18, 0, gained({A: NAT // 2, B: -NAT}), Rule())
    assert with_harm == alone


@given(EVIDENCE, st.integers(0, 3 * NAT))
def test_an_adapter_that_made_nothing_better_leaves_the_pool_to_the_base(evidence, worse):
    no_gain = replace(evidence, nll_model=evidence.nll_base + worse, retrieval=None)
    shares = split_fee(1_000, 0, no_gain, Rule())
    assert shares == {BASE: 700, DEVELOPER: 200, STAKERS: 100}


def test_a_worked_example():
    """With a gain of 1 nat the base finds the answer e**-1 as probable per token, and has 36.79 % of the pool."""
    evidence = gained({A: NAT // 20, B: NAT // 40, C: -NAT, D: NAT // 40}, placebos=(NAT // 80,))
    assert split_fee(1_000_100, 100, evidence, Rule(noise_z_milli=1_000)) == {
        A: 110_621,  # standard errors are together half of what positive scores are: a half of each part is left
        B: 55_311,
        D: 55_310,
        BASE: 257_516,
        DEVELOPER: 200_000,
        PLATFORM: 100,
        STAKERS: 100_000,
        UNATTRIBUTED: 221_242,
    }


@pytest.mark.parametrize(
    "context", (decimal.Context(prec=6), decimal.Context(prec=60), decimal.Context(traps=[decimal.Inexact], Emax=9))
)
def test_the_decimal_context_of_whoever_calls_changes_nothing(context):
    """A receipt is checked inside other people's programs, which may have set one."""
    evidence = measured({A: NAT // 2}, (), 3 * NAT // 7, NAT // 11)
    expected = split_fee(10**18 + 7, 0, evidence, Rule())
    with decimal.localcontext(context):
        assert split_fee(10**18 + 7, 0, evidence, Rule()) == expected


def test_nobody_is_paid_where_nobody_helped():
    shares = split_fee(10**6, 0, gained({A: -NAT, B: 0}), ALL_TO_POOL)
    assert shares == {BASE: 367_879, UNATTRIBUTED: 632_121}


@given(st.integers(1, 2**40))
def test_only_the_proportion_of_scores_matters_where_there_is_no_noise(scale):
    one = split_fee(10**18, 0, gained({A: 3, B: 2}), ALL_TO_POOL)
    assert split_fee(10**18, 0, gained({A: 3 * scale, B: 2 * scale}), ALL_TO_POOL) == one
    assert UNATTRIBUTED not in one


def test_an_answer_for_nothing_pays_nobody():
    assert split_fee(0, 0, gained({A: NAT}), Rule()) == {}


@pytest.mark.parametrize("key", (BASE, UNATTRIBUTED, PLATFORM, DEVELOPER, STAKERS))
def test_no_contributor_can_be_called_like_a_reserved_key(key):
    with pytest.raises(ValueError, match="not a contributor's address"):
        split_fee(100, 0, gained({key: NAT}), Rule())


@pytest.mark.parametrize("errors", ({}, {A: 1, B: 1}, {B: 1}, {A: -1}))
def test_every_score_has_its_standard_error(errors):
    with pytest.raises(ValueError, match="every score needs a standard error"):
        split_fee(100, 0, replace(gained({A: NAT}), errors=errors), Rule())


@pytest.mark.parametrize(("fee", "platform_fee"), ((1, 2), (1, -1)))
def test_a_fee_holds_the_platforms_part(fee, platform_fee):
    with pytest.raises(ValueError, match="cannot hold a platform fee"):
        split_fee(fee, platform_fee, gained({A: NAT}), Rule())


@pytest.mark.parametrize(
    "parameters",
    (
        {"developer_bps": -1},
        {"noise_z_milli": -1},
        {"developer_bps": 6_000, "stakers_bps": 4_001},
        {"stakers_bps": 0.5},
        {"developer_bps": True},
        {"cap_bps": -1},
        {"cap_bps": 10_001},
        {"floor_milli": 1_001},
    ),
)
def test_a_rule_that_cannot_be_is_refused(parameters):
    with pytest.raises(ValueError, match=r"of a split|more than everything"):
        Rule(**parameters)


def test_a_rule_is_named_by_its_parameters():
    assert Rule().digest() == Rule(2_000, 1_000, 100, 10_000, 500).digest()
    assert Rule().digest() != Rule(noise_z_milli=2_001).digest()


def as_document(evidence: Evidence) -> dict[str, Any]:
    numbers = {"nll_base": evidence.nll_base, "nll_model": evidence.nll_model, "placebos": list(evidence.placebos)}
    return numbers | {"scores": dict(evidence.scores), "errors": dict(evidence.errors), "trust_bps": evidence.trust_bps}


@settings(max_examples=300)
@given(fees(), EVIDENCE, RULES)
def test_a_second_implementation_splits_alike(fee_and_platform, evidence, rule):
    fee, platform_fee = fee_and_platform
    document = {"fee": fee, "platform_fee": platform_fee, "rule": rule.to_json(), "evidence": as_document(evidence)}
    if evidence.retrieval:
        document["retrieval"] = vars(evidence.retrieval)
    assert second_opinion.shares(document) == split_fee(fee, platform_fee, evidence, rule)


@given(ANSWERS, RULES)
def test_a_second_implementation_settles_alike(answers, rule):
    documents = [(answer.amount, as_document(answer.evidence)) for answer in answers]
    assert second_opinion.settled(documents, rule.to_json()) == settle(answers, rule)
