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
    Net,
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
    SCORES,
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


@given(ANSWERS, st.builds(Answer, st.integers(0, 2**100), evidences(placebos=2)), RULES, st.integers(0, 29))
def test_who_asks_for_an_answer_of_its_own_data_gets_no_more_than_it_paid(answers, own, rule, place):
    """Whatever its scores and everybody else's are: query farming loses at least what does not belong to the data."""
    whose = sorted(own.evidence.scores)
    if not whose:
        return
    who = whose[place % len(whose)]
    rule = replace(rule, cap_bps=10_000)
    before, after = settle(answers, rule).get(who, 0), settle([*answers, own], rule).get(who, 0)
    relief = noise_taken(answers, who, rule) - noise_taken([*answers, own], who, rule)
    assert after - before <= own.amount + max(0, relief) + 2


def noise_taken(answers: list[Answer], who: str, rule: Rule) -> int:
    """What is taken off somebody's credit, in whole units rounded up."""
    net = Net()
    for answer in answers:
        net.add(answer)
    return -(-rule.noise_z_milli * net.error(who) // 1000 // NAT) if who in net.credits else 0


def test_noise_that_earns_in_every_single_answer_earns_nothing_in_all_together():
    chance = random.Random(1)

    def noise() -> int:
        return round(chance.gauss(0, NAT / 20))

    answers = []
    for _ in range(400):
        placebos = tuple(noise() for _ in range(8))
        answers.append(Answer(10**18, measured({A: NAT // 4 + noise(), B: noise(), C: NAT // 20}, placebos)))
    alone = sum(settle([answer], ALL_TO_POOL).get(B, 0) for answer in answers)
    together = settle(answers, Rule(0, 0, 2_000))
    assert alone > sum(answer.amount for answer in answers) // 20
    assert together.get(B, 0) < alone // 50
    assert together[C] > 0, "what is small and always there is paid"


@given(SCORES.filter(lambda score: score > 0), st.integers(0, NAT), st.integers(1, 30), st.integers(1, NAT // 10))
def test_of_one_answers_credit_its_own_standard_error_is_taken_off(score, error, losers, noise):
    """However much the others lose by the answer, and however the placebos fell."""
    lost = {f"0x{number:040x}": -NAT for number in range(losers)}
    scores = {A: score, **lost}
    evidence = replace(measured(scores, (noise, -noise)), errors={**dict.fromkeys(lost, 0), A: error})
    expected = max(0, 10**18 * (score - error) // score)
    assert abs(settle([Answer(10**18, evidence)], Rule(noise_z_milli=1_000)).get(A, 0) - expected) <= 2


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


def test_answers_of_models_with_other_placebos_are_not_settled_together():
    with pytest.raises(ValueError, match="same placebos"):
        settle([Answer(1, measured({A: 1}, (1,))), Answer(1, measured({A: 1}, (1, 2)))], Rule())
