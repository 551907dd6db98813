from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from services.factory.spec import FineTuneSpec
from services.factory.warn import SERVED_RANK, Prospect, cautions

ROOT = Path(__file__).parents[4]
GOOD = Prospect(
    spec=FineTuneSpec(),
    records=400,
    training=360,
    held_out=40,
    contributors={f"0x{i}": 36 for i in range(10)},
    seconds=60.0,
    memory_bytes=2**30,
)


def codes(prospect, seconds=3600.0, memory=2**34):
    return [caution.code for caution in cautions(prospect, seconds, memory)]


def test_a_good_run_needs_no_word():
    assert codes(GOOD) == []
    assert codes(GOOD, memory=0) == []


@pytest.mark.parametrize(
    ("change", "code"),
    (
        ({"training": 9, "held_out": 391}, "FEW_RECORDS"),
        ({"training": 260}, "MANY_DROPPED"),
        ({"credited_to_others": 3}, "LIKE_EARLIER_RECORDS"),
        ({"contributors": {"0x1": 360}}, "ONE_CONTRIBUTOR"),
        ({"contributors": {"0x1": 200, "0x2": 160}}, "DOMINANT_CONTRIBUTOR"),
        ({"spec": FineTuneSpec(epochs=10)}, "MEMORISING"),
        ({"training": 20, "held_out": 380, "spec": FineTuneSpec(epochs=4)}, "MEMORISING"),
        ({"training": 400, "held_out": 0}, "NOT_MEASURED"),
        ({"training": 390, "held_out": 10}, "ROUGHLY_MEASURED"),
        ({"spec": FineTuneSpec(learning_rate=0.1)}, "BOLD_LEARNING_RATE"),
        ({"spec": FineTuneSpec(dora=True)}, "NOT_ON_VLLM"),
        ({"spec": FineTuneSpec(rank=17)}, "HIGH_RANK"),
        ({"seconds": 4000.0}, "LONG"),
        ({"memory_bytes": 2**35}, "MUCH_MEMORY"),
        ({"spec": FineTuneSpec(contributors_at_once=4)}, "IN_PARTS"),
        ({"spec": FineTuneSpec(leave_one_out=True)}, "TRAINED_AGAIN"),
        ({"spec": FineTuneSpec(halves=8)}, "FEW_HALVES"),
        ({"spec": FineTuneSpec(halves=64), "contributors": dict.fromkeys("abcd", 90)}, "FEW_HALVES"),
        ({"spec": FineTuneSpec(halves=64), "contributors": dict.fromkeys("abc", 120)}, "TOO_FEW_CONTRIBUTORS"),
        ({"spec": FineTuneSpec(leave_one_out=True), "contributors": {"a": 360}}, "TOO_FEW_CONTRIBUTORS"),
        ({"spec": FineTuneSpec(leave_one_out=True), "training": 400, "held_out": 0}, "AUDIT_NOT_JUDGED"),
    ),
)
def test_what_should_be_known_is_said(change, code):
    assert code in codes(replace(GOOD, **change))


def test_what_would_fail_is_not_told_as_if_it_took_time():
    alone = replace(GOOD, spec=FineTuneSpec(leave_one_out=True), contributors={"a": 360})
    assert codes(alone) == ["ONE_CONTRIBUTOR", "TOO_FEW_CONTRIBUTORS"]


def test_a_run_without_any_usable_record_can_be_warned_of():
    assert "FEW_RECORDS" in codes(replace(GOOD, training=0, held_out=0, contributors={}))


def test_parts_are_told_with_their_number_and_time():
    spec = FineTuneSpec(contributors_at_once=4)
    [told] = cautions(replace(GOOD, spec=spec, seconds=600.0, parts_seconds=400.0), 3600.0, 0)
    assert "one training follows 4 of 10 contributors, so it is repeated 2 times: about 7 of 10 minutes" in told.message


def test_a_rank_that_an_openlora_serves_as_it_comes_needs_no_word():
    [most] = re.findall(r"max_rank: int = Field\((\d+)", (ROOT / "services/openlora/config.py").read_text())
    assert int(most) == SERVED_RANK
    assert codes(replace(GOOD, spec=FineTuneSpec(rank=SERVED_RANK))) == []
    [told] = cautions(replace(GOOD, spec=FineTuneSpec(rank=64)), 3600.0, 0)
    assert "OPENLEDGER_OPENLORA_MAX_RANK to 64" in told.message
