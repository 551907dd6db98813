"""What slither finds, held against what somebody looked at."""

from __future__ import annotations

import json

import pytest

from contracts import slither

ONE = {"impact": "medium", "check": "incorrect-equality", "finding": "A.f() uses =="}


def known(**changes):
    return [{**ONE, "reason": "zero stands for none", **changes}]


def test_what_was_looked_at_is_passed_over():
    assert slither.compared([ONE], known()) == []


@pytest.mark.parametrize("there", ([], known(reason=""), known(finding="A.g() uses ==")))
def test_what_nobody_gave_a_reason_for_is_told(there):
    assert "medium: incorrect-equality: A.f() uses ==" in slither.compared([ONE], there)


def test_a_high_one_has_no_excuse():
    assert slither.compared([{**ONE, "impact": "high"}], known(impact="high"))


def test_what_is_not_found_any_more_is_told():
    assert slither.compared([], known()) == ["not found any more: incorrect-equality: A.f() uses =="]


def test_a_finding_is_the_same_wherever_it_stands_in_a_file():
    told = {
        "impact": "Low",
        "check": "timestamp",
        "description": "A.f() (src/A.sol#1-9) uses\n\t- t < x (src/A.sol#5)\n",
    }
    assert slither._finding(told)["finding"] == "A.f() uses - t < x"


def test_reasons_stay_when_it_is_written_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(slither, "KNOWN", tmp_path / "slither.json")
    other = {**ONE, "finding": "A.g() uses =="}
    slither.write([ONE, other], known())
    written = json.loads((tmp_path / "slither.json").read_text())
    assert [one["reason"] for one in written] == ["zero stands for none", ""]


def test_every_finding_that_is_kept_has_a_reason_and_none_is_high():
    kept = json.loads(slither.KNOWN.read_text())
    assert all(one["reason"] and one["impact"] in ("medium", "low") for one in kept)
