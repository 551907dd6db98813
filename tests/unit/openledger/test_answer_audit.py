from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from openledger import canonical
from openledger.answer_audit import (
    MOST_CONTRIBUTORS,
    AnswerAudit,
    agreement_of_halves,
    agreements,
    drawn,
    drawn_halves,
    left_out,
    memberships,
    over_answers,
    parse,
)
from tests.unit.openledger.test_receipt import UNSIGNED

PEOPLE = [f"0x{n:040x}" for n in range(12)]
MANY = [f"0x{n:040x}" for n in range(10 * MOST_CONTRIBUTORS)]
SEED = "ab" * 32
HALVES = {"halves_index": "d" * 64, "halves": {"0": 5, "11": -7}}
AUDIT = AnswerAudit("responses/r1", "a" * 64, "adapters/x/revisions/" + "b" * 64, "c" * 64, {PEOPLE[0]: -(2**70)})


def receipts(count):
    return [replace(UNSIGNED, trace_sha256=f"{number:064x}") for number in range(count)]


def test_an_audit_is_read_back_as_it_was_written():
    assert parse(AUDIT.dumps()) == AUDIT
    assert json.loads(AUDIT.dumps())["rises"] == {PEOPLE[0]: str(-(2**70))}


def test_one_with_halves_is_another_version_and_read_back_too():
    audit = replace(AUDIT, **HALVES)
    assert parse(audit.dumps()) == audit
    document = json.loads(audit.dumps())
    assert (document["version"], document["halves"]) == ("openledger.answer_audit.v2", {"0": "5", "11": "-7"})
    assert "halves" not in AUDIT.to_json()


@pytest.mark.parametrize(
    "changes",
    (
        {"version": "openledger.answer_audit.v2"},
        {"halves_index": "d" * 64, "halves": {"01": "5"}, "version": "openledger.answer_audit.v2"},
        {"halves_index": "d" * 64, "halves": {"0": "5"}},
        {"response": "r1"},
        {"rises": {PEOPLE[0]: "1.5"}},
        {"rises": {PEOPLE[0]: "+1"}},
        {"rises": {"nobody": "1"}},
        {"rises": None},
        {"more": 1},
    ),
)
def test_what_is_no_audit_is_said(changes):
    with pytest.raises(ValueError, match=r".+"):
        parse(canonical.dumps(AUDIT.to_json() | changes))


def test_one_answer_in_so_many_is_drawn_and_always_the_same():
    some = receipts(5_000)
    chosen = [drawn(receipt, 1_000) for receipt in some]
    assert 400 < sum(chosen) < 600
    assert chosen == [drawn(receipt, 1_000) for receipt in some]
    assert all(drawn(receipt, 2_000) for receipt, taken in zip(some, chosen, strict=True) if taken)


@pytest.mark.parametrize(("share", "expected"), ((0, set()), (10_000, {True})))
def test_none_or_all_can_be_drawn(share, expected):
    assert {drawn(receipt, share) for receipt in receipts(50)} <= (expected or {False})


def test_of_few_contributors_everybody_is_left_out_and_of_many_so_many_by_hash():
    one, other = receipts(2)
    assert left_out(one, PEOPLE[::-1]) == PEOPLE
    assert left_out(one, MANY) == left_out(one, MANY[::-1])
    assert len(set(left_out(one, MANY))) == MOST_CONTRIBUTORS
    assert set(left_out(one, MANY)) < set(MANY)
    assert left_out(one, MANY) != left_out(other, MANY)


def test_scores_in_the_order_of_the_truth_agree_and_chance_does_not():
    scores = {who: (number + 1) ** 3 << 50 for number, who in enumerate(PEOPLE)}
    rises = {who: number << 40 for number, who in enumerate(PEOPLE)}
    paid, shuffled = agreements(scores, rises, SEED)
    assert paid == 1
    assert abs(shuffled) < 0.8
    assert agreements(dict(reversed(scores.items())), rises, SEED) == (paid, shuffled)
    assert agreements({who: -score for who, score in scores.items()}, rises, SEED)[0] == -1


def test_only_those_who_were_left_out_are_judged_by():
    scores = {who: number for number, who in enumerate(PEOPLE)}
    rises = {who: scores[who] for who in PEOPLE[3:8]}
    assert agreements(scores | {PEOPLE[0]: 1000}, rises, SEED)[0] == 1


def test_scores_of_others_cannot_be_judged():
    with pytest.raises(ValueError, match="other contributors"):
        agreements({PEOPLE[0]: 1}, {PEOPLE[1]: 1}, SEED)


def test_answers_are_summed_up_in_thousandths():
    assert over_answers([0.25] * 3) == (250, 250, 250)
    mean, low, high = over_answers([0.1, 0.5, 0.9])
    assert low < mean == 500 < high


def test_sums_of_scores_that_put_halves_in_the_order_of_their_losses_agree():
    draw = np.random.default_rng(0)
    members = np.array([draw.permutation(12) < 6 for _ in range(16)])
    scores = {who: (number - 4) << 60 for number, who in enumerate(PEOPLE)}
    lost = [-sum(scores[who] for who, there in zip(PEOPLE, half, strict=True) if there) for half in members]
    assert agreement_of_halves(scores, PEOPLE, members, lost) == 1
    assert agreement_of_halves(scores, PEOPLE, members, [-each for each in lost]) == -1
    assert agreement_of_halves(dict.fromkeys(PEOPLE, 1), PEOPLE, members, lost) == 0
    with pytest.raises(ValueError, match="other contributors"):
        agreement_of_halves(scores, PEOPLE[1:], members[:, 1:], lost)


def test_who_is_in_which_half_is_read_from_the_revisions_audit():
    people, members = memberships(canonical.dumps({"contributors": PEOPLE[:3], "halves": ["110", "001"], "more": 1}))
    assert people == PEOPLE[:3]
    assert members.tolist() == [[True, True, False], [False, False, True]]
    for wrong in (b"[]", canonical.dumps({"contributors": PEOPLE[:3], "halves": ["11"]}), b"{}"):
        with pytest.raises(ValueError, match=r".+"):
            memberships(wrong)


def test_of_many_halves_so_many_are_taken_by_hash():
    one, other = receipts(2)
    assert drawn_halves(one, 5) == [0, 1, 2, 3, 4]
    assert len(set(drawn_halves(one, 200))) == MOST_CONTRIBUTORS
    assert drawn_halves(one, 200) != drawn_halves(other, 200)


def test_the_worse_of_both_is_what_counts():
    assert over_answers([0.9] * 3, [0.5] * 3) == over_answers([0.5] * 3, [0.9] * 3) == (500, 500, 500)
