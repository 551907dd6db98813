"""What counts as the same, as near as machines come, and as wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.influence.quantize import quantise
from openledger.retrained import LOSS, MEASURED, ROW, SAME, WEIGHTS, Machine, apart, likeness, loss, vector, weights

SIZES = (5, 300)
TRUE = np.random.default_rng(0).standard_normal(sum(SIZES))
PUBLISHED = quantise(TRUE, SIZES)


def test_the_same_vector_is_the_same_bytes():
    like = likeness(PUBLISHED, TRUE)
    assert (like.same, like.differing, like.entries) == (True, 0, sum(SIZES) + len(SIZES))
    assert 0 < like.distance < 0.01, "it was rounded to eight bits"
    assert like.cosine == pytest.approx(1, abs=1e-4)
    assert vector("it", PUBLISHED, TRUE, Machine(exact=True)).words() == "it: byte for byte"
    assert likeness(PUBLISHED, PUBLISHED.to_float()).distance == 0, "rounding what is rounded changes nothing"


def test_one_entry_that_is_off_by_one_is_wrong_where_machines_are_alike_and_not_elsewhere():
    made = PUBLISHED.to_float()
    made[9] += 2.0 ** int(PUBLISHED.exponents[1])
    assert likeness(PUBLISHED, made).differing == 1
    assert "1 of its 307 entries" in vector("it", PUBLISHED, made, Machine(exact=True)).wrong
    found = vector("it", PUBLISHED, made, Machine())
    assert (found.same, found.wrong) == (False, "")
    assert "as near as another machine comes" in found.words()


@given(st.floats(0.5, 2.0), st.booleans())
def test_what_is_scaled_is_wrong_from_the_tolerance_on(factor, flipped):
    made = PUBLISHED.to_float()
    published = quantise((-factor if flipped else factor) * made, SIZES)
    off = apart(published.to_float(), made)[0]
    assert bool(vector("it", published, made, Machine()).wrong) == (off > ROW)  # rounded already: no more is lost
    assert off == pytest.approx(abs((-factor if flipped else factor) - 1), abs=0.02)


def test_what_has_no_length():
    nothing = quantise(np.zeros(305), SIZES)
    assert likeness(nothing, np.zeros(305)).same
    assert likeness(nothing, np.zeros(305)).distance == 0
    assert vector("it", PUBLISHED, np.zeros(305), Machine()).wrong
    assert vector("it", nothing, TRUE, Machine()).wrong


@pytest.mark.parametrize("value", (math.nan, math.inf))
def test_what_no_index_can_hold_is_wrong(value):
    assert "no index can hold" in vector("it", PUBLISHED, np.full(305, value), Machine()).wrong


def test_weights_are_judged_by_their_way_from_the_start():
    start = np.full(305, 100.0)
    assert not weights("they", start + TRUE, start + 1.02 * TRUE, start, Machine()).wrong
    assert weights("they", start + TRUE, start + (1 + 2 * WEIGHTS) * TRUE, start, Machine()).wrong


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
    assert not vector("it", published, made, Machine()).wrong
    assert not vector("it", published, made * 1.001, Machine()).wrong
    assert vector("it", quantise(1.2 * made, SIZES), made, Machine()).wrong


def nearly(off, seed=1):
    """The true vector, that much of its length aside, in some direction."""
    aside = np.random.default_rng(seed).standard_normal(len(TRUE))
    return TRUE + off * np.linalg.norm(TRUE) * aside / np.linalg.norm(aside)


def test_beyond_rounding_is_what_rounding_did_not_make():
    for off in (0.03, 0.3):
        assert likeness(quantise(nearly(off), SIZES), TRUE).beyond == pytest.approx(off, rel=0.3)
        rounded = likeness(quantise(nearly(off), SIZES), PUBLISHED.to_float())
        assert rounded.beyond == pytest.approx(off, rel=0.3)
    assert likeness(PUBLISHED, TRUE).beyond == likeness(PUBLISHED, PUBLISHED.to_float()).beyond == 0
    assert likeness(PUBLISHED, TRUE).grain == pytest.approx(likeness(PUBLISHED, TRUE).rounding, rel=0.3)


def machine(*offs):
    """By an index that was made again: its rows are rounded, too."""
    made = PUBLISHED.to_float()
    return Machine.of([likeness(quantise(nearly(off, n), SIZES), made) for n, off in enumerate(offs)], exact=False)


@pytest.mark.parametrize("entries", (560, 2800))
@pytest.mark.parametrize("off", (1e-7, 1e-6, 1e-5, 1e-3))
def test_honest_rows_of_another_machine_are_never_wrong_however_few_entries_differ(entries, off):
    """Of small models many are the same bytes by chance, and one entry that is rounded up is much of a short row."""
    draw, sizes = np.random.default_rng(0), [entries // 14] * 14
    for _ in range(20):
        scales = np.repeat(np.exp(draw.normal(0, 0.7, 14)), entries // 14)
        true = [draw.standard_t(6, entries) * scales for _ in range(8)]
        aside = [off * np.linalg.norm(row) / np.sqrt(entries) * draw.standard_normal(entries) for row in true]
        made = [quantise(row + some, sizes).to_float() for row, some in zip(true, aside, strict=True)]
        published = [quantise(row, sizes) for row in true]
        known = Machine.of(map(likeness, published, made), exact=False)
        found = [vector("it", theirs, ours, known) for theirs, ours in zip(published, made, strict=True)]
        assert not [one for one in found if one.wrong or one.odd]


def test_a_machine_on_which_most_rows_are_the_same_is_as_good_as_the_same():
    """Whatever was done to the adapter, to have it look like another one."""
    same = machine(0, 0, 0, 0.04)
    assert (same.alike, same.exact) == (True, False)
    assert vector("it", quantise(nearly(0.04), SIZES), TRUE, same).wrong
    assert not vector("it", PUBLISHED, TRUE, same).wrong
    assert weights("they", TRUE + 0.01, TRUE, np.zeros(305), same).wrong
    assert not weights("they", TRUE + 1e-7, TRUE, np.zeros(305), same).wrong


def test_a_row_that_is_off_alone_stands_out_on_another_machine_and_accuses_nobody():
    other = machine(0.002, 0.002, 0.003, 0.003, 0.02)
    assert not other.alike
    found = vector("it", quantise(nearly(0.045), SIZES), TRUE, other)
    assert not found.wrong
    assert "further than others are or were measured" in found.odd
    assert found.odd in found.words()
    assert not vector("it", quantise(nearly(0.01), SIZES), TRUE, other).odd


def test_a_row_that_is_further_off_than_was_measured_stands_out():
    for known in (Machine(), machine(0.015, 0.015, 0.015, 0.015)):
        assert "measured" in vector("it", quantise(nearly(2 * MEASURED), SIZES), TRUE, known).odd
        assert not vector("it", quantise(nearly(MEASURED / 2), SIZES), TRUE, known).odd


def test_rows_without_a_length_say_nothing_of_a_machine():
    nothing = likeness(quantise(np.zeros(305), SIZES), np.zeros(305))
    assert Machine.of([nothing] * 9, exact=False).usual is None
    assert not Machine.of([nothing] * 9 + [likeness(quantise(nearly(0.01), SIZES), TRUE)], exact=False).alike


def test_what_two_models_are_apart_is_no_fault_of_a_short_row_between_them():
    same = machine(0, 0, 0, 0)
    published = quantise(nearly(0.01), SIZES)
    assert vector("it", published, TRUE, same).wrong
    found = vector("it", published, TRUE, same, slack=0.02 * float(np.linalg.norm(TRUE)))
    assert (found.wrong, found.odd) == ("", "")
    assert likeness(published, TRUE).beyond > SAME
