from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.cli.demo import hpo
from services.datanet.checks import names
from services.datanet.checks.names import PASSAGE, find
from tests.needs import needs

pytestmark = needs("presidio", "language")


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("Yesterday I met John Smith at the station and we talked.", "John Smith"),
        ("John Smith lives in London with his wife.", "John Smith"),
        ("She was treated by Dr. Jennifer Walker in the same clinic.", "Jennifer Walker"),
        ("My doctor, Mr. Walker, said that I should rest.", "Walker"),
        ("The manager is called Mary O'Brien and answers quickly.", "Mary O'Brien"),
    ),
)
def test_a_name_is_found(text, said):
    (span,) = find(text)
    assert said in text[span.start : span.end]
    assert len(text[span.start : span.end]) <= len(said) + len("Dr. ")


@pytest.mark.parametrize(
    "text",
    (
        "",
        "A duplication of the middle phalanx of hand.",
        "The Charcot Marie Tooth disease is named after three physicians.",
        "It is caused by a mutation, as in Smith Lemli Opitz syndrome.",
        "A positive Babinski sign was seen in both feet.",
        "It follows from the Cauchy Schwarz inequality and the Bayes theorem.",
        "We live in Martin Luther King Street, near the park.",
        "New York and Los Angeles are cities in the United States.",
        "The patient had Magnetic Resonance Imaging of the brain.",
    ),
)
def test_what_bears_a_name_is_no_person(text):
    assert find(text) == []


def test_the_model_is_not_asked_where_no_two_words_have_capitals(monkeypatch):
    def never():
        raise AssertionError

    monkeypatch.setattr(names, "_model", never)
    assert find("Yesterday we met in London. The fever was high. It is Ehlers-Danlos.") == []
    with pytest.raises(AssertionError):
        find("Yesterday I met John Smith.")


def test_a_name_is_found_in_a_long_text_where_it_stands():
    filler = "We walked along the river and talked about the weather for a while. "
    text = filler * (2 * PASSAGE // len(filler)) + "There we met John Smith and his dog. " + filler * 20
    assert [text[span.start : span.end] for span in find(text)] == ["John Smith"]


@given(st.text(max_size=3 * PASSAGE))
def test_passages_are_the_text(text):
    pieces = list(names._passages(text))
    assert "".join(piece for _, piece in pieces) == text
    assert all(0 < len(piece) <= PASSAGE and text.startswith(piece, begin) for begin, piece in pieces)


@needs("hpo")
def test_definitions_have_no_persons():
    said = [definition.text for curator in hpo.load(20, 30).curators for definition in curator.definitions]
    assert sum(bool(find(text)) for text in said) * 200 <= len(said)
