"""What shows nothing makes no difference, against Unicode's own list of it."""

from __future__ import annotations

import sys
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from openledger import clusters, records
from openledger.visible import VERSION, visible

EVERY = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
BLANKS = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"
IGNORABLE = [c for c in EVERY if regex.match(r"\p{Default_Ignorable_Code_Point}", c)]
FORMAT = [c for c in EVERY if unicodedata.category(c) == "Cf"]
HIDDEN = sorted({*IGNORABLE, *FORMAT} - {*BLANKS})
_HIDDEN = frozenset(HIDDEN)
TEXT = "a fever of unknown cause that lasts for three weeks or more"


def test_all_of_unicodes_list_is_left_out_or_a_blank_and_nothing_else_is():
    assert len(HIDDEN) > 4_000
    for character in EVERY:
        shown = visible(f"a{character}b")
        hidden = character in _HIDDEN or "\U00013439" <= character <= "\U0001343f"  # later than Python 3.11's tables
        assert shown == ("a b" if character in BLANKS else "ab" if hidden else f"a{character}b")


@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.sampled_from(HIDDEN)), max_size=30))
def test_wherever_it_stands_it_makes_no_difference(put):
    text = TEXT
    for place, character in sorted(put, reverse=True):
        text = text[:place] + character + text[place:]
    assert records.comparable(text) == TEXT
    assert clusters.words(text) == clusters.words(TEXT)
    assert records.fingerprint({"text": text}) == records.fingerprint({"text": TEXT})


@given(st.lists(st.sampled_from(BLANKS), min_size=11, max_size=11))
def test_what_shows_as_a_blank_parts_words_as_one(blanks):
    words = TEXT.split()
    text = words[0] + "".join(blank + word for blank, word in zip(blanks, words[1:], strict=True))
    assert records.comparable(text) == TEXT
    assert clusters.words(text) == words


@given(st.text(max_size=80))
def test_it_is_its_own_form_and_the_first_version_is_as_it_was(text):
    assert visible(visible(text)) == visible(text)
    assert visible(text, 1) == "".join(c for c in text if unicodedata.category(c) != "Cf")


@pytest.mark.parametrize("version", (0, VERSION + 1))
def test_another_version_is_not_guessed_at(version):
    with pytest.raises(ValueError, match=f"version {version}"):
        visible("a", version)
