"""Answers of one model settled together: noise that cancels, and what must not pay."""

from __future__ import annotations

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
    RETRIEVAL,
    STAKERS,
    UNATTRIBUTED,
    Answer,
    Rule,
    divide,
    settle,
    split_fee,
    waiting,
)
from tests.split_world import (
    ALL_TO_POOL,
    ANSWERS,
    EVIDENCE,
    RULES,
    A,
    B,
    C,
    allocate_pool,
    evidences,
    measured,
)


@given(ANSWERS, RULES, st.randoms())
def test_settling_gives_out_every_unit_whatever_the_order(answers, rule, chance: random.Random):
    settled = settle(answers, rule)
    assert sum(settled.values()) == sum(answer.amount for answer in answers)
    assert all(amount > 0 for amount in settled.values())
    chance.shuffle(answers)
    assert settle(answers, rule) == settled


@given(ANSWERS, RULES)
def test_nobody_gets_more_than_from_each_answer_alone_and_no_noise(answers, rule):
    """Netting takes losses off; it never hands out what was another's."""
    settled, free = settle(answers, rule), replace(rule, noise_z_milli=0, cap_bps=10_000)
    alone: dict[str, int] = {}
    for answer in answers:
        for who, amount in settle([answer], free).items():
            alone[who] = alone.get(who, 0) + amount
    for who, amount in settled.items():
        assert who == UNATTRIBUTED or amount <= alone.get(who, 0) + len(answers) + 1


@given(st.integers(0, 10**18), st.integers(0, 10**18), EVIDENCE, RULES)
def test_a_receipt_settles_its_answer_alone(fee, platform_fee, evidence, rule):
    shares = split_fee(fee + platform_fee, platform_fee, evidence, rule)
    data = divide(allocate_pool(fee, rule), evidence).get("data", 0)
    people = {who: shares[who] for who in shares.keys() - {BASE, PLATFORM, DEVELOPER, STAKERS}}
    people = {who: amount for who, amount in people.items() if not who.startswith(RETRIEVAL)}
    assert people == settle([Answer(data, evidence)], rule)
    assert waiting(shares) == data


OWN = st.builds(Answer, st.integers(0, 2**100), evidences())


@given(ANSWERS, OWN, RULES, st.integers(0, 29))
def test_who_asks_for_an_answer_of_its_own_data_gets_no_more_than_it_paid(answers, own, rule, place):
    """Whatever was measured of it and of all others: query farming loses at least what does not belong to the data."""
    whose = sorted(own.evidence.scores)
    if not whose:
        return
    who = whose[place % len(whose)]
    rule = replace(rule, cap_bps=10_000)
    before, after = settle(answers, rule).get(who, 0), settle([*answers, own], rule).get(who, 0)
    assert after - before <= own.amount + 2


@given(ANSWERS, OWN, RULES)
def test_others_lose_by_an_answer_no_more_than_some_times_its_money(answers, own, rule):
    """Its negative credits, the doubt that it adds, and what whoever it speaks for may get in their place."""
    rule = replace(rule, cap_bps=10_000)
    before, after = settle(answers, rule), settle([*answers, own], rule)
    lost = sum(max(0, before[who] - after.get(who, 0)) for who in before.keys() - {UNATTRIBUTED})
    assert lost <= own.amount * (2_000 + rule.noise_z_milli) // 1_000 + len(before) + 2


@given(ANSWERS, RULES, st.randoms())
def test_two_accounts_have_together_what_one_would(answers, rule, chance: random.Random):
    """Of credits of one sign; neither cutting an account in two nor joining two brings anything."""
    whole = "0x" + "e" * 40
    parts = {"0x" + "e1" * 20: 0.0, "0x" + "e2" * 20: 0.0}
    one, two = [], []
    for answer in answers:
        found = answer.evidence
        mine, error, first = chance.randint(0, NAT), chance.randint(0, NAT // 10), chance.random()
        cut = dict(zip(parts, (round(mine * first), mine - round(mine * first)), strict=True))
        unsure = dict(zip(parts, (round(error * first), error - round(error * first)), strict=True))
        one.append(
            replace(
                answer,
                evidence=replace(found, scores=found.scores | {whole: mine}, errors=found.errors | {whole: error}),
            )
        )
        two.append(replace(answer, evidence=replace(found, scores=found.scores | cut, errors=found.errors | unsure)))
    rule = replace(rule, cap_bps=10_000)
    alone, together = settle(one, rule), settle(two, rule)
    assert abs(alone.get(whole, 0) - sum(together.get(part, 0) for part in parts)) <= 2 * len(answers) + 3


def test_noise_that_earns_in_every_single_answer_earns_nothing_in_all_together():
    chance = random.Random(1)

    def noise() -> int:
        return round(chance.gauss(0, NAT / 20))

    answers = [Answer(10**18, measured({A: NAT // 4 + noise(), B: noise(), C: NAT // 20})) for _ in range(400)]
    alone = sum(settle([answer], ALL_TO_POOL).get(B, 0) for answer in answers)
    together = settle(answers, ALL_TO_POOL)
    assert alone > sum(answer.amount for answer in answers) // 20
    assert together.get(B, 0) < alone // 10
    assert together[C] > 0, "what is small and always there is paid"


@given(st.integers(1, NAT), st.integers(1, NAT), st.integers(0, NAT), st.integers(0, 2_000))
def test_the_same_part_comes_off_everybody(first, second, error, z_milli):
    evidence = replace(measured({A: first, B: second, C: -NAT}), errors={A: error, B: 0, C: error})
    paid = settle([Answer(10**18, evidence)], Rule(noise_z_milli=z_milli))
    sure = max(0, 10**18 - 10**18 * min(first + second, 2 * error) * z_milli // (1_000 * (first + second)))
    assert abs(paid.get(A, 0) - sure * first // (first + second)) <= 3
    assert abs(paid.get(B, 0) - sure * second // (first + second)) <= 3


def test_an_answer_that_says_nothing_cannot_put_others_pay_in_doubt():
    """Scores next to nothing beside their errors: all of its own money is in doubt, and no more."""
    good = [Answer(10**6, replace(measured({A: NAT, B: NAT}), errors={A: NAT // 10, B: NAT // 10})) for _ in range(50)]
    bad = Answer(10**6, replace(measured({A: 1, B: 0}), errors={A: NAT, B: NAT}))
    rule = Rule(0, 0, 1_000)
    before, after = settle(good, rule), settle([*good, bad], rule)
    assert sum(before[who] - after[who] for who in (A, B)) <= 10**6


def test_a_contributor_gets_no_more_than_the_cap():
    evidence = measured({A: 9 * NAT, B: NAT})
    assert settle([Answer(1_000, evidence)], Rule(cap_bps=5_000)) == {A: 500, B: 100, UNATTRIBUTED: 400}


@pytest.mark.parametrize("trust_bps", (-1, 10_001))
def test_belief_is_a_part(trust_bps):
    with pytest.raises(ValueError, match="cannot be believed"):
        settle([Answer(1, replace(measured({A: NAT}), trust_bps=trust_bps))], Rule())


def test_scores_that_are_believed_in_part_leave_the_rest_unattributed():
    evidence = replace(measured({A: 3 * NAT, B: NAT}), trust_bps=5_000)
    assert settle([Answer(1_000, evidence)], Rule()) == {A: 375, B: 125, UNATTRIBUTED: 500}


def test_a_loss_takes_off_no_more_than_the_answers_money():
    """An answer that all but one lose by is no weapon: together they lose what the asker paid."""
    others = {f"0x{number:040x}": -100 * NAT for number in range(10)}
    good = Answer(1_000, measured(dict.fromkeys(others, NAT) | {A: NAT}))
    bad = Answer(220, measured(others | {A: NAT}))
    before, after = settle([good], ALL_TO_POOL), settle([good, bad], ALL_TO_POOL)
    assert after[A] - before[A] <= 220
    assert sum(before[who] - after[who] for who in others) <= 220 + len(others)
