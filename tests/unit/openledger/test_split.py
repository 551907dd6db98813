"""From scores to money: exact sums, and what must not pay."""

from __future__ import annotations

import decimal
import random
from dataclasses import replace

import pytest
from hypothesis import given
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
    noise_threshold,
    split_fee,
)

A, B, C, D = (f"0x{letter * 40}" for letter in "abcd")
ADDRESSES = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
SCORES = st.integers(-3 * NAT, 3 * NAT)
EVIDENCE = st.builds(
    Evidence,
    nll_base=st.integers(0, 12 * NAT),
    nll_model=st.integers(0, 12 * NAT),
    scores=st.dictionaries(ADDRESSES, SCORES, max_size=30),
    placebos=st.lists(st.integers(-NAT // 10, NAT // 10), max_size=4).map(tuple),
)
RULES = st.builds(
    Rule, developer_bps=st.integers(0, 5_000), stakers_bps=st.integers(0, 5_000), noise_z_milli=st.integers(0, 5_000)
)
ALL_TO_POOL = Rule(developer_bps=0, stakers_bps=0, noise_z_milli=0)


@st.composite
def fees(draw: st.DrawFn) -> tuple[int, int]:
    fee = draw(st.integers(0, 2**128 - 1))
    return fee, draw(st.integers(0, fee))


def gained(scores: dict[str, int], gain: int = NAT, placebos: tuple[int, ...] = ()) -> Evidence:
    """An answer that the tuned model finds `gain` likelier than the base does."""
    return Evidence(nll_base=3 * NAT + gain, nll_model=3 * NAT, scores=scores, placebos=placebos)


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


def test_splitting_below_the_noise_loses():
    noise = (NAT // 100,)
    rule = Rule(noise_z_milli=2_000)
    together = split_fee(10**18, 0, gained({A: NAT // 40}, placebos=noise), rule)
    apart = split_fee(10**18, 0, gained({A: NAT // 80, B: NAT // 80}, placebos=noise), rule)
    assert together[A] > 0
    assert A not in apart
    assert B not in apart


@given(st.lists(st.integers(-NAT, NAT), min_size=1, max_size=5), st.integers(0, 5_000))
def test_what_noise_could_give_earns_nothing(placebos, z_milli):
    rule = Rule(noise_z_milli=z_milli)
    threshold = noise_threshold(placebos, rule)
    square = sum(p * p for p in placebos) / len(placebos)
    assert threshold >= z_milli / 1000 * square**0.5 * (1 - 1e-12)
    shares = split_fee(10**18, 0, gained({A: threshold, B: threshold + NAT}, placebos=tuple(placebos)), rule)
    assert A not in shares
    assert shares[B] > 0


def test_negative_scores_earn_nothing_and_cost_nobody():
    alone = split_fee(10**18, 0, gained({A: NAT // 2}), Rule())
    with_harm = split_fee(10**18, 0, gained({A: NAT // 2, B: -NAT}), Rule())
    assert with_harm == alone


@given(EVIDENCE, st.integers(0, 3 * NAT))
def test_an_adapter_that_made_nothing_better_leaves_the_pool_to_the_base(evidence, worse):
    no_gain = replace(evidence, nll_model=evidence.nll_base + worse)
    shares = split_fee(1_000, 0, no_gain, Rule())
    assert shares == {BASE: 700, DEVELOPER: 200, STAKERS: 100}


def test_a_worked_example():
    """With a gain of 1 nat the base finds the answer e**-1 as probable per token, and has 36.79 % of the pool."""
    evidence = gained({A: NAT // 20, B: NAT // 40, C: -NAT, D: NAT // 40}, placebos=(NAT // 80,))
    assert noise_threshold(evidence.placebos, Rule()) >= NAT // 40 > 0
    assert split_fee(1_000_100, 100, evidence, Rule()) == {
        A: 221_242,  # half of what is left: its score is half of all positive ones
        BASE: 257_516,
        DEVELOPER: 200_000,
        PLATFORM: 100,
        STAKERS: 100_000,
        UNATTRIBUTED: 221_242,  # B and D are within what noise could give
    }


@pytest.mark.parametrize(
    "context", (decimal.Context(prec=6), decimal.Context(prec=60), decimal.Context(traps=[decimal.Inexact], Emax=9))
)
def test_the_decimal_context_of_whoever_calls_changes_nothing(context):
    """A receipt is checked inside other people's programs, which may have set one."""
    evidence = Evidence(3 * NAT // 7, NAT // 11, {A: NAT // 2}, ())
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
    ),
)
def test_a_rule_that_cannot_be_is_refused(parameters):
    with pytest.raises(ValueError, match=r"of a split|more than everything"):
        Rule(**parameters)


def test_a_rule_is_named_by_its_parameters():
    assert Rule().digest() == Rule(2_000, 1_000, 2_000).digest()
    assert Rule().digest() != Rule(noise_z_milli=2_001).digest()
