"""What counts as the same, as near as machines come, and as wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.influence.quantize import quantise
from openledger.retrained import LOSS, ROW, WEIGHTS, apart, likeness, loss, vector, weights

SIZES = (5, 300)
TRUE = np.random.default_rng(0).standard_normal(sum(SIZES))
PUBLISHED = quantise(TRUE, SIZES)


def test_the_same_vector_is_the_same_bytes():
    like = likeness(PUBLISHED, TRUE)
    assert (like.same, like.differing, like.entries) == (True, 0, sum(SIZES) + len(SIZES))
    assert 0 < like.distance < 0.01, "it was rounded to eight bits"
    assert like.cosine == pytest.approx(1, abs=1e-4)
    assert vector("it", PUBLISHED, TRUE, exact=True).words() == "it: byte for byte"
    assert likeness(PUBLISHED, PUBLISHED.to_float()).distance == 0, "rounding what is rounded changes nothing"


def test_one_entry_that_is_off_by_one_is_wrong_where_machines_are_alike_and_not_elsewhere():
    made = PUBLISHED.to_float()
    made[9] += 2.0 ** int(PUBLISHED.exponents[1])
    assert likeness(PUBLISHED, made).differing == 1
    assert "1 of its 307 entries" in vector("it", PUBLISHED, made, exact=True).wrong
    found = vector("it", PUBLISHED, made, exact=False)
    assert (found.same, found.wrong) == (False, "")
    assert "as near as another machine comes" in found.words()


@given(st.floats(0.5, 2.0), st.booleans())
def test_what_is_scaled_is_wrong_from_the_tolerance_on(factor, flipped):
    made = PUBLISHED.to_float()
    published = quantise((-factor if flipped else factor) * made, SIZES)
    off = apart(published.to_float(), made)[0]
    assert bool(vector("it", published, made, exact=False).wrong) == (off > ROW)  # rounded already: no more is lost
    assert off == pytest.approx(abs((-factor if flipped else factor) - 1), abs=0.02)


def test_what_has_no_length():
    nothing = quantise(np.zeros(305), SIZES)
    assert likeness(nothing, np.zeros(305)).same
    assert likeness(nothing, np.zeros(305)).distance == 0
    assert vector("it", PUBLISHED, np.zeros(305), exact=False).wrong
    assert vector("it", nothing, TRUE, exact=False).wrong


@pytest.mark.parametrize("value", (math.nan, math.inf))
def test_what_no_index_can_hold_is_wrong(value):
    assert "no index can hold" in vector("it", PUBLISHED, np.full(305, value), exact=False).wrong


def test_weights_are_judged_by_their_way_from_the_start():
    start = np.full(305, 100.0)
    assert not weights("they", start + TRUE, start + 1.02 * TRUE, start, same=False).wrong
    assert weights("they", start + TRUE, start + (1 + 2 * WEIGHTS) * TRUE, start, same=False).wrong


@pytest.mark.parametrize(
    ("off", "exact", "wrong"),
    (
        (0.0, True, False),
        (1e-9, True, True),
        (LOSS / 2, False, False),
        (2 * LOSS, False, True),
        (math.nan, False, True),
    ),
)
def test_losses(off, exact, wrong):
    assert bool(loss("it", 1.0, 1.0 + off, exact=exact).wrong) == wrong


def test_what_eight_bits_make_is_held_against_nobody():
    """One large entry, and the others are rounded away."""
    made = np.full(305, 0.006)
    made[-1] = made[0] = 1.0
    published = quantise(made, SIZES)
    assert likeness(published, made).distance == likeness(published, made).rounding > ROW
    assert not vector("it", published, made, exact=False).wrong
    assert not vector("it", published, made * 1.001, exact=False).wrong
    assert vector("it", quantise(1.2 * made, SIZES), made, exact=False).wrong
