"""The bench of record sketches: what it compares, by hand, and its rows of random records."""

from __future__ import annotations

import numpy as np
import pytest

from bench import records


def test_agreement_by_hand() -> None:
    exact = np.array([[*range(20, 0, -1)], [*range(20, 0, -1)]], dtype=float)
    found = exact.copy()
    found[1, [0, 15]] = found[1, [15, 0]]  # the best record is lost, another one takes its place
    measured = records.compared(found, exact)
    swapped = 1 - 6 * 2 * 15**2 / (20 * (20**2 - 1))
    assert measured["spearman"] == pytest.approx((1 + swapped) / 2, abs=1e-4)
    assert measured["least_spearman"] == pytest.approx(swapped, abs=1e-4)
    assert (measured["top_recall"], measured["same_first"]) == (0.95, 0.5)


def test_a_scan_says_what_a_record_takes() -> None:
    measured = records.scan(2000)
    assert 4096 <= measured["bytes_a_record"] < 4100
    assert 0 < measured["cpu_seconds"] < 10
    assert measured["megabytes_beside_the_file"] < 4
