from __future__ import annotations

from services.attribution.model_audit import MOST_DOCUMENTS, summed_up
from services.attribution.store_audits import Audited


def audited(count):
    return [Audited(f"responses/{n}", "r", 0.9, 0.0, f"d{n}") for n in range(count)]


def test_that_there_is_nothing_to_say_is_said():
    assert "Nothing was trained again" in summed_up("r", [], trained_again=False).words
    none = summed_up("r", [], trained_again=True)
    assert "No answer was drawn" in none.words
    assert not none.HasField("paid")


def test_what_was_found_is_said_in_numbers_and_in_words():
    told = summed_up("r", audited(3), trained_again=True)
    assert "Over 3 answers drawn at random" in told.words
    assert "rank correlation 0.90 [0.90, 0.90]; shuffled 0.00 [0.00, 0.00]" in told.words
    assert (told.answers, told.paid.mean, told.shuffled.mean) == (3, 0.9, 0.0)
    assert "Over 1 answer drawn" in summed_up("r", audited(1), trained_again=True).words


def test_the_newest_documents_are_named():
    told = summed_up("r", audited(MOST_DOCUMENTS + 1), trained_again=True)
    assert list(told.documents) == [f"d{n}" for n in range(MOST_DOCUMENTS)]
