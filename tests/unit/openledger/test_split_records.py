"""What records before the question are paid, beside what tuning is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from openledger.split import (
    BASE,
    DEVELOPER,
    NAT,
    PLATFORM,
    RETRIEVAL,
    STAKERS,
    UNATTRIBUTED,
    Evidence,
    Retrieval,
    Rule,
    divide,
    payee,
    split_fee,
)
from tests.split_world import (
    ALL_TO_POOL,
    RETRIEVALS,
    RULES,
    A,
    B,
    C,
    D,
    allocate_pool,
    evidences,
    fees,
    measured,
)


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
