from __future__ import annotations

from dataclasses import replace

import pytest

from openledger import canonical
from openledger.grade import FEWEST_ANSWERS, Grade, check_signature, parse, sign, trust_bps
from openledger.split import Rule

POOR = Grade("adapters/x/revisions/" + "a" * 64, 250, 150, 350, ("d" * 64,) * FEWEST_ANSWERS)


def test_a_grade_is_read_back_as_it_was_written():
    assert parse(POOR.dumps()) == POOR
    assert canonical.sha256(POOR.dumps()) == POOR.digest()


def test_one_that_says_how_many_answers_are_drawn_is_signed():
    signed = sign(replace(POOR, audit_bps=100), "0x" + "11" * 32)
    check_signature(signed)
    assert parse(signed.dumps()) == signed
    with pytest.raises(ValueError, match="changed after it was signed"):
        check_signature(replace(signed, audit_bps=1))


@pytest.mark.parametrize("share", (-1, 10_001, "100", True))
def test_a_share_that_cannot_be_drawn_is_said(share):
    with pytest.raises(ValueError, match="whole number of 10000"):
        parse(canonical.dumps(replace(POOR, audit_bps=100).to_json() | {"audit_bps": share}))


@pytest.mark.parametrize(
    "changes",
    (
        {"version": "openledger.grade.v2"},
        {"mean_milli": 1001},
        {"high_milli": 0.5},
        {"low_milli": True},
        {"documents": 3},
        {"revision": "x"},
        {"more": 1},
    ),
)
def test_what_is_no_grade_is_said(changes):
    with pytest.raises(ValueError, match=r".+"):
        parse(canonical.dumps(POOR.to_json() | changes))


@pytest.mark.parametrize(
    ("grade", "expected"),
    (
        (None, 10_000),
        (POOR, 5_000),
        (replace(POOR, high_milli=500), 10_000),
        (replace(POOR, documents=POOR.documents[1:]), 10_000),
        (replace(POOR, mean_milli=-10, low_milli=-100, high_milli=100), 0),
    ),
)
def test_scores_are_believed_unless_the_whole_interval_is_below_the_floor(grade, expected):
    assert trust_bps(grade, Rule(floor_milli=500)) == expected


def test_without_a_floor_everything_is_believed():
    assert trust_bps(replace(POOR, mean_milli=-1000, low_milli=-1000, high_milli=0), Rule(floor_milli=0)) == 10_000
