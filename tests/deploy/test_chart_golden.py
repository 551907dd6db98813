"""The profiles that others are made of are what they were, to the line.  Renew: make chart ARGS=--renew."""

from __future__ import annotations

import pytest

from tools import chart


@pytest.mark.parametrize("profile", chart.KEPT)
def test_a_profile_is_what_its_golden_file_says(profile):
    assert chart.difference(profile) == ""


def test_there_is_no_golden_file_of_no_profile():
    assert {file.stem for file in chart.GOLDEN.iterdir()} == set(chart.KEPT)


def test_keys_are_never_the_same_twice_and_in_no_golden_file():
    def secrets() -> list[str]:
        found = chart.objects(chart.render("default"))
        return [value for each in found if each["kind"] == "Secret" for value in each["data"].values()]

    first, second = secrets(), secrets()
    assert len({*first, *second}) == len(first) + len(second)


def test_what_stands_in_a_file_of_its_own_stands_there_alone():
    script = (chart.CHART / "files" / "paid_answer.py").read_text()
    assert script.splitlines()[0] in chart.render("default")
    assert script.splitlines()[0] not in chart.settled(chart.render("default"))
