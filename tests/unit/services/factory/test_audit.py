"""Agreement told as it is: of scores that are right, of scores that are luck, and where there is too little to say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.factory import audit
from services.factory.audit import FITTED, LEFT_OUT, PAID, SHUFFLED, Audit, AuditError, Retrained, finite, judge, words
from services.factory.counterfactual_plan import draw

QUERIES, PEOPLE, HALVES = 12, 6, 16


@pytest.fixture
def truth():
    """What each contributor's absence adds to each record's loss."""
    return np.random.default_rng(1).normal(size=(QUERIES, PEOPLE))


@pytest.fixture
def found(truth):
    """Models that behave exactly so."""
    masks = draw(PEOPLE, HALVES, seed=3)
    everybody = np.full((1, QUERIES), 2.0)
    return Retrained(everybody, everybody + truth.T, 2.0 + (~masks).astype(float) @ truth.T, masks)


def by_kind(judged):
    return {one.scores: one for one in judged}


def test_true_scores_agree_altogether_and_shuffled_ones_by_luck(truth, found):
    judged = by_kind(judge({PAID: truth}, found, seed=0))
    assert list(judged) == [PAID, SHUFFLED]
    assert (judged[PAID].leave_one_out.mean, judged[PAID].leave_one_out.models) == (1.0, PEOPLE)
    assert judged[PAID].halves.mean > 0.999
    assert judged[PAID].halves.models == HALVES
    for luck in (judged[SHUFFLED].leave_one_out, judged[SHUFFLED].halves):
        assert abs(luck.mean) < 0.4
        assert luck.low < luck.mean < luck.high


def test_the_sign_counts(truth, found):
    judged = by_kind(judge({PAID: -truth}, found, seed=0))
    assert judged[PAID].leave_one_out.mean == -1
    assert judged[PAID].halves.mean < -0.999


def test_nothing_is_judged_by_the_models_that_it_was_made_from(truth, found):
    judged = by_kind(judge({PAID: truth, LEFT_OUT: truth, FITTED: truth}, found, seed=0))
    assert judged[LEFT_OUT].leave_one_out is None
    assert judged[LEFT_OUT].halves.models == HALVES
    assert judged[FITTED].halves.models == HALVES - found.fitted == HALVES // 2
    spoilt = found.halves.copy()
    spoilt[: found.fitted] = np.random.default_rng(5).normal(size=spoilt[: found.fitted].shape)
    again = by_kind(judge({PAID: truth, FITTED: truth}, replace(found, halves=spoilt), seed=0))
    assert again[FITTED].halves == judged[FITTED].halves, "what it was fitted to is not looked at"
    assert again[PAID].halves != judged[PAID].halves, "paid scores are judged by all"


def test_too_few_models_or_records_are_not_judged(truth, found):
    two = Retrained(found.everybody, found.left_out[:2], found.halves[:0], found.masks[:0, :2])
    assert [one.leave_one_out or one.halves for one in judge({PAID: truth[:, :2]}, two, seed=0)] == [None, None]
    nobody = Retrained(found.everybody[:, :0], found.left_out[:, :0], found.halves[:, :0], found.masks)
    assert by_kind(judge({PAID: truth[:0]}, nobody, seed=0))[PAID].halves is None


def test_records_without_finite_figures_are_left_out(truth, found):
    spoilt = found.halves.copy()
    spoilt[3, 5] = np.inf
    scores = truth.copy()
    scores[7] = np.nan
    assert np.flatnonzero(~finite({PAID: scores}, replace(found, halves=spoilt))).tolist() == [5, 7]


def test_of_many_records_some_are_drawn_and_of_few_all_are_taken():
    assert audit.draw(5, seed=1) == [0, 1, 2, 3, 4]
    assert audit.draw(0, seed=1) == []
    drawn = audit.draw(1000, seed=1)
    assert drawn == sorted(set(drawn)) == audit.draw(1000, seed=1) != audit.draw(1000, seed=2)
    assert len(drawn) == audit.MOST_RECORDS


def test_words_say_what_was_found(truth, found):
    told = words(judge({PAID: truth}, found, seed=0), found, QUERIES, HALVES)
    assert told.startswith("Leaving out each contributor and training again: rank correlation 1.00 (1.00 to 1.00, 95 %")
    assert "the paid scores agree well" in told
    assert "shuffled: " in told
    assert told.endswith("Measured on 12 held-out records.")
    luck = np.random.default_rng(9).normal(size=truth.shape)
    assert "cannot be told from luck" in words(judge({PAID: luck}, found, seed=0), found, QUERIES, HALVES)


@pytest.mark.parametrize(
    ("records", "held_out", "why"),
    ((0, 0, "no record is held out"), (0, 4, "no held-out record has a finite loss"), (4, 4, "too few to put into")),
)
def test_words_say_why_nothing_was_judged(found, truth, records, held_out, why):
    everybody, left_out = found.everybody[:, :records], found.left_out[:2, :records]
    two = Retrained(everybody, left_out, found.halves[:0, :records], found.masks[:0, :2])
    told = words(judge({PAID: truth[:records, :2]}, two, seed=0), two, held_out, 0)
    assert "could not be judged" in told
    assert why in told


def test_words_say_that_there_are_no_more_halves(truth, found):
    told = words(judge({PAID: truth}, found, seed=0), found, QUERIES, 64)
    assert told.endswith("There are only 16 different halves of so few contributors, not 64.")


@pytest.fixture
def document(truth, found):
    return Audit(
        words="agrees",
        agreement=judge({PAID: truth, LEFT_OUT: truth}, found, seed=0),
        held_out=QUERIES,
        judged=QUERIES,
        repeat=None,
        contributors=tuple(f"0x{i:040x}" for i in range(PEOPLE)),
        left_out=True,
        halves=("010101",),
        fitted=1,
        asked_halves=1,
        ridge=1.0,
        seed=0,
        steps=9,
        training="ab" * 32,
    )


def test_it_is_read_as_it_was_written(document):
    assert Audit.from_bytes(document.to_bytes()) == document


@pytest.mark.parametrize(
    "change",
    ((b'"steps":9', b'"steps":"9"'), (b'"judged":12,', b""), (b"audit.v1", b"audit.v9"), (b"{", b"[")),
)
def test_what_is_no_audit_is_refused(document, change):
    with pytest.raises(AuditError):
        Audit.from_bytes(document.to_bytes().replace(*change, 1))


def test_vectors_are_fitted_to_halves_that_tell_everybody_apart(found):
    def fitted(*masks):
        members = np.array([[bit == "1" for bit in mask] for mask in masks])
        return replace(found, masks=members.reshape(len(masks), -1)).fitted

    assert fitted("1100", "0011", "1010", "0101") == 2
    assert fitted("1100", "1010", "1001", "0101") == 4
    assert fitted("1100", "1010", "0110", "1100") == fitted("1100", "1010", "1001", "1100") == 0
    assert replace(found, masks=found.masks[:0]).fitted == 0


def test_words_say_where_nothing_could_be_fitted(truth, found):
    somebody_always = found.masks.copy()
    somebody_always[:, 2] = True
    told = words(judge({PAID: truth}, found, seed=0), replace(found, masks=somebody_always), QUERIES, HALVES)
    assert "No vectors were fitted: somebody is in all of the halves" in told


def test_its_files_have_names_of_their_own():
    assert len({*audit.FILES, "contribution_index.safetensors"}) == 5
