"""From scores to money: exact sums, and what must not pay."""

from __future__ import annotations

import decimal
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openledger.integers import root_mean_square
from openledger.split import (
    BASE,
    DEVELOPER,
    NAT,
    PLATFORM,
    RETRIEVAL,
    STAKERS,
    UNATTRIBUTED,
    Answer,
    Evidence,
    Net,
    Retrieval,
    Rule,
    allocate,
    divide,
    payee,
    settle,
    split_fee,
    waiting,
)
from tests import second_opinion

A, B, C, D = (f"0x{letter * 40}" for letter in "abcd")
ADDRESSES = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
SCORES = st.integers(-3 * NAT, 3 * NAT)


LOSSES = st.integers(0, 12 * NAT)
RETRIEVALS = st.builds(Retrieval, LOSSES, LOSSES, st.dictionaries(ADDRESSES, SCORES, max_size=16))


@st.composite
def evidences(draw: st.DrawFn, placebos: int | None = None) -> Evidence:
    scores = draw(st.dictionaries(ADDRESSES, SCORES, max_size=30))
    noise = st.integers(-NAT // 10, NAT // 10)
    count = draw(st.integers(0, 4)) if placebos is None else placebos
    return Evidence(
        nll_base=draw(st.integers(0, 12 * NAT)),
        nll_model=draw(st.integers(0, 12 * NAT)),
        scores=scores,
        placebos=tuple(draw(st.lists(noise, min_size=count, max_size=count))),
        errors={who: draw(st.integers(0, NAT // 10)) for who in scores},
        trust_bps=draw(st.just(10_000) | st.integers(0, 10_000)),
        retrieval=draw(st.none() | RETRIEVALS),
    )


EVIDENCE = evidences()
RULES = st.builds(
    Rule,
    developer_bps=st.integers(0, 5_000),
    stakers_bps=st.integers(0, 5_000),
    noise_z_milli=st.integers(0, 5_000),
    cap_bps=st.integers(0, 10_000),
)
ALL_TO_POOL = Rule(developer_bps=0, stakers_bps=0, noise_z_milli=0)


@st.composite
def fees(draw: st.DrawFn) -> tuple[int, int]:
    fee = draw(st.integers(0, 2**128 - 1))
    return fee, draw(st.integers(0, fee))


def gained(scores: dict[str, int], gain: int = NAT, placebos: tuple[int, ...] = ()) -> Evidence:
    """An answer that the tuned model finds `gain` likelier than the base does."""
    return measured(scores, placebos, 3 * NAT + gain, 3 * NAT)


def measured(
    scores: dict[str, int], placebos: tuple[int, ...] = (), nll_base: int = 4 * NAT, nll_model: int = 3 * NAT
) -> Evidence:
    """Evidence of contributors who are all as noisy as a placebo."""
    return Evidence(nll_base, nll_model, scores, placebos, dict.fromkeys(scores, root_mean_square(placebos)))


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
    noise = -(-z_milli * root_mean_square(placebos) // 1000)
    shares = split_fee(10**18, 0, gained({A: noise, B: noise + NAT}, placebos=tuple(placebos)), rule)
    assert shares.get(A, 0) <= 1  # of 10**18 units; rounding alone
    assert shares[B] > 0


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
    assert split_fee(1_000_100, 100, evidence, Rule(noise_z_milli=2_000)) == {
        A: 110_621,  # half of what is left by its score, of which two standard errors are the half
        BASE: 257_516,
        DEVELOPER: 200_000,
        PLATFORM: 100,
        STAKERS: 100_000,
        UNATTRIBUTED: 331_863,  # B and D are within what noise could give
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
    assert Rule().digest() == Rule(2_000, 1_000, 1_000, 10_000, 500).digest()
    assert Rule().digest() != Rule(noise_z_milli=2_001).digest()


# --- settled together -------------------------------------------------------------------------------------------------

ANSWERS = st.lists(st.builds(Answer, st.integers(0, 2**100), evidences(placebos=2)), max_size=8)


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


def allocate_pool(fee: int, rule: Rule) -> int:
    weights = {DEVELOPER: rule.developer_bps, STAKERS: rule.stakers_bps}
    weights["pool"] = 10_000 - sum(weights.values())
    return allocate(fee, weights).get("pool", 0)


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


# --- records before the question --------------------------------------------------------------------------------------


def read(scores: dict[str, int], *, bare: tuple[int, int] = (8, 8), full: tuple[int, int] = (8, 4)) -> Evidence:
    """Of two trained on.  bare, full: halves of a nat under base and model, without records and with."""
    half = NAT // 2
    trained = measured({A: 3 * NAT, B: NAT}, (), full[0] * half, full[1] * half)
    return replace(trained, retrieval=Retrieval(bare[0] * half, bare[1] * half, scores))


def records_part(evidence: Evidence) -> dict[str, int]:
    """Who gets what of 1,000 units of the records' money."""
    shares = split_fee(10**21, 0, evidence, ALL_TO_POOL)
    money = {key.partition(":")[2]: amount for key, amount in shares.items() if key.startswith(RETRIEVAL)}
    return {who: round(1_000 * amount / sum(money.values())) for who, amount in money.items()}


def test_records_and_tuning_are_paid_by_what_each_brought_in_the_mean_of_both_orders():
    """The base alone loses 4 nats, tuned 3, reading 2.5, both 1: of 3 nats tuning has 1.25, records have 1.75."""
    parts = divide(10**6, read({}, bare=(8, 6), full=(5, 2)))
    assert parts == {BASE: 49_787, "data": 395_922, RETRIEVAL: 554_291}
    assert round((10**6 - 49_787) * 1.25 / 3) == 395_922


def test_the_base_is_paid_for_what_it_would_have_said_without_records():
    no_tuning = read({C: 2 * NAT}, bare=(8, 8), full=(4, 4))
    assert divide(10**6, no_tuning) == {BASE: 135_335, RETRIEVAL: 864_665}


def test_records_that_change_nothing_leave_everything_as_it_was():
    without = measured({A: 3 * NAT, B: NAT})
    same = replace(without, retrieval=Retrieval(without.nll_base, without.nll_model, {C: 0, D: -NAT}))
    assert split_fee(10**18, 10, same, Rule()) == split_fee(10**18, 10, without, Rule())


@pytest.mark.parametrize(("bare", "full"), (((8, 4), (8, 6)), ((4, 4), (8, 4)), ((8, 6), (12, 6))))
def test_records_that_helped_nothing_get_nothing(bare, full):
    assert RETRIEVAL not in divide(1_000, read({C: NAT}, bare=bare, full=full))


def test_tuning_that_helped_nothing_gets_nothing():
    assert divide(1_000, read({C: NAT}, bare=(8, 10), full=(4, 5))).keys() == {BASE, RETRIEVAL}


def test_an_answer_that_is_no_likelier_is_the_bases():
    assert divide(1_000, read({C: NAT}, bare=(4, 4), full=(2, 6))) == {BASE: 1_000}


def test_who_is_missed_more_gets_more():
    assert records_part(read({C: 3 * NAT // 2, D: NAT // 2}, bare=(8, 8), full=(8, 4))) == {C: 750, D: 250}


def test_what_is_missed_by_more_than_all_together_is_shared_in_proportion():
    """Two halves of one statement: without either it is lost."""
    assert records_part(read({C: 2 * NAT, D: 2 * NAT}, bare=(8, 8), full=(8, 4))) == {C: 500, D: 500}


def test_where_two_say_the_same_an_irrelevant_third_does_not_get_what_they_do_not():
    some = records_part(read({A: 0, B: NAT // 100, C: NAT // 100, D: -NAT}, bare=(8, 8), full=(8, 4)))
    assert some == {B: 5, C: 5, UNATTRIBUTED: 990}


def test_the_cap_holds_for_records():
    capped = split_fee(10**6, 0, read({C: 2 * NAT}, full=(4, 4)), replace(ALL_TO_POOL, cap_bps=2_500))
    assert capped == {BASE: 135_335, f"{RETRIEVAL}:{C}": 216_166, f"{RETRIEVAL}:{UNATTRIBUTED}": 648_499}


@given(fees(), evidences(), RETRIEVALS, RULES)
def test_who_passes_own_records_gets_back_less_than_it_paid(fee_and_platform, evidence, retrieval, rule):
    """All that is the data's and the records', were all of it one's own, is no more than the pool."""
    shares = split_fee(*fee_and_platform, replace(evidence, retrieval=retrieval), rule)
    fee, platform_fee = fee_and_platform
    own = sum(amount for key, amount in shares.items() if payee(key))
    assert own <= allocate_pool(fee - platform_fee, rule)


def test_no_contributor_of_a_record_can_be_called_like_a_reserved_key():
    with pytest.raises(ValueError, match="not a contributor's address"):
        split_fee(100, 0, read({UNATTRIBUTED: NAT}), Rule())


def test_shares_say_whose_they_are():
    assert payee(A) == payee(f"{RETRIEVAL}:{A}") == A
    for key in (BASE, UNATTRIBUTED, PLATFORM, DEVELOPER, STAKERS, f"{RETRIEVAL}:{UNATTRIBUTED}", f"other:{A}"):
        assert payee(key) is None


# --- a second opinion -------------------------------------------------------------------------------------------------


def as_document(evidence: Evidence) -> dict[str, Any]:
    numbers = {"nll_base": evidence.nll_base, "nll_model": evidence.nll_model, "placebos": list(evidence.placebos)}
    return numbers | {"scores": dict(evidence.scores), "errors": dict(evidence.errors), "trust_bps": evidence.trust_bps}


@settings(max_examples=2_000)
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
