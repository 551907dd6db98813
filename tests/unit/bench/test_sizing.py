"""What sizes take follows from what was measured, and the documentation says the same."""

from __future__ import annotations

import pytest

from bench import sizing
from bench.sizing import SIZES, Measured
from services.ledger.checks import SHARE
from tests.needs import ROOT

PAGE = (ROOT / "docs" / "sizing.md").read_text()


@pytest.mark.parametrize("table", (sizing.table, sizing.cost_table))
def test_the_documentation_has_the_tables_that_the_results_give(table):
    assert table() in PAGE


def test_all_that_is_needed_of_every_size_was_measured():
    found = Measured.load()
    for size in SIZES:
        assert found.attribution[size.contributors] > 0
        assert found.receipt_bytes[size.contributors] > 0
        assert found.seal_seconds[size.accounts] > 0


def test_the_words_say_the_figures():
    found = Measured.load()
    assert f"**One ledger books {found.booked_a_second:,} answers a second**" in PAGE
    assert f"some {1 / found.attribution[10]:.1f} a second on a core" in PAGE
    kilobytes = [found.receipt_bytes[number] / 1e3 for number in (10, 100, 1000, 10_000)]
    hours = 365 * 100 * sizing.DAY * sizing.POSTINGS * found.check / SHARE / 3600
    assert f"takes {1e6 * found.check:.1f} µs a posting" in PAGE
    assert f"after a year of a hundred answers a second {hours:.0f} hours" in PAGE
    assert "{:.1f} kB with ten, {:.0f} with a hundred, {:.0f} with a thousand, {:.1f} MB".format(
        *kilobytes[:3], kilobytes[3] / 1e3
    ) in PAGE.replace("\n  ", " ")
