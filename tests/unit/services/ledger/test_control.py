"""Control totals: added in any pieces they are the same, and they tell one unit in one book."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger import control, journal
from services.ledger.control import ControlTotals
from services.ledger.journal import UNDOING, Kind

NAMES = ("payer:a", "payable:b", "pool:c", "held:base", "chain:escrow")
KEY = "ab" * 16
MOVES = st.tuples(st.sampled_from(Kind), st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(1, 2**255))


def lines_of(moves):
    """A journal of two postings for each."""
    return [
        (number, kind, name, amount * sign)
        for number, (kind, out, into, amount) in enumerate(moves, 1)
        for name, sign in ((out, -1), (into, 1))
    ]


def books_of(lines):
    into, out = Counter(), Counter()
    for _, kind, name, amount in lines:
        if (amount > 0) is not (kind in UNDOING):
            into[name] += amount
        else:
            out[name] -= amount
    return [(name, into[name], out[name]) for name in NAMES]


@given(st.lists(MOVES, max_size=12), st.data())
def test_in_any_pieces_they_are_the_same_and_the_books_agree_with_them(moves, data):
    lines, last = lines_of(moves), len(moves)
    whole, odd = control.add(ControlTotals(KEY), lines, last)
    cut = data.draw(st.integers(0, last))
    part, _ = control.add(ControlTotals(KEY), [line for line in lines if line[0] <= cut], cut)
    part = ControlTotals.loads(part.journals, part.dumps())
    assert control.add(part, [line for line in lines if line[0] > cut], last)[0] == whole
    assert (odd, whole.journals) == ([], last)
    assert whole.money == journal.conservation((kind, name, amount) for _, kind, name, amount in lines)
    books = books_of(lines)
    assert whole.agree(books)
    place, by = data.draw(st.integers(0, len(NAMES) - 1)), data.draw(st.integers(-(2**255), 2**255).filter(bool))
    name, into, out = books[place]
    for wrong in ((name, into + by, out), (name, into, out + by), (name, into + by, out + by), (name + "x", by, 0)):
        assert not whole.agree([*books[:place], wrong, *books[place + 1 :]])


@pytest.mark.parametrize("held", (1, 3, 50_000))
def test_a_journal_of_any_length_is_added_in_little_memory(monkeypatch, held):
    lines = [(1, Kind.SETTLEMENT, f"payable:{n}", n) for n in range(1, 9)] + [(1, Kind.SETTLEMENT, "pool:c", -36)]
    one = control.add(ControlTotals(KEY), lines, 1)
    monkeypatch.setattr(control, "_HELD", held)
    assert control.add(ControlTotals(KEY), lines, 1) == one
    assert one[1] == []


@pytest.mark.parametrize(
    ("lines", "odd"),
    (
        ([(1, Kind.CLAIM, "a", 5), (1, Kind.CLAIM, "b", -4)], [1]),
        ([(1, None, "a", 5), (1, None, "b", -5)], [1]),
        ([(1, Kind.CLAIM, "a", 5), (1, Kind.CLAIM, "b", -5), (2, Kind.CLAIM, "a", 10**84)], [2]),
        ([(3, Kind.CLAIM, "a", 5), (3, Kind.CLAIM, "b", -5)], [3]),
    ),
)
def test_journals_that_do_not_balance_that_are_missing_or_that_nobody_wrote_are_named(lines, odd):
    assert control.add(ControlTotals(KEY), lines, 2)[1] == odd


def test_each_whole_look_has_a_key_of_its_own():
    one, other = ControlTotals.of_nothing(), ControlTotals.of_nothing()
    assert one.key != other.key
    lines = lines_of([(Kind.CLAIM, "payable:b", "chain:escrow", 7)])
    assert control.add(one, lines, 1)[0].credits != control.add(other, lines, 1)[0].credits


NO_KEY = ControlTotals(KEY).dumps().replace(f'"{KEY}"', "7")
LONG_KEY = ControlTotals("0" * 65).dumps()


@pytest.mark.parametrize("text", ("", "x", "[]", "7", "{}", '{"key": "00", "credits": "x"}', NO_KEY, LONG_KEY))
def test_what_is_no_totals_is_told(text):
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        ControlTotals.loads(1, text)
