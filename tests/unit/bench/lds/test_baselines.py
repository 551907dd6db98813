"""Text baselines by hand, and controls that must know nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.lds import baselines
from openledger.influence import agreement
from tests.needs import needs

TEXTS = st.lists(st.text("ab cd", min_size=1, max_size=12), min_size=1, max_size=6)


def test_bm25_by_hand() -> None:
    records = ["The red fox", "a fox, a FOX and a hound", "nothing of it"]
    scores = baselines.bm25(["fox fox", "hound_red", "of the unheard"], records)
    norm = [1.2 * (0.25 + 0.75 * words / (13 / 3)) for words in (3, 7, 3)]
    two, one = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)  # idf of a word in two records, and in one
    expected = [
        [2 * two / (1 + norm[0]), 2 * two * 2 / (2 + norm[1]), 0],
        [one / (1 + norm[0]), one / (1 + norm[1]), 0],
        [one / (1 + norm[0]), 0, one / (1 + norm[2])],
    ]
    assert np.allclose(scores, expected)


@given(TEXTS, TEXTS, st.randoms(use_true_random=False))
def test_bm25_follows_its_records(queries: list[str], records: list[str], random) -> None:
    order = list(range(len(records)))
    random.shuffle(order)
    scores = baselines.bm25(queries, records)
    assert scores.shape == (len(queries), len(records))
    assert (scores >= 0).all()
    assert np.allclose(baselines.bm25(queries, [records[n] for n in order]), scores[:, order])


@needs("minilm")
def test_embeddings_are_those_of_the_published_model() -> None:
    """The first numbers that sentence-transformers prints for the first sentence of the model card's example."""
    vectors = baselines.embed(["This is an example sentence", "Each sentence is converted"])
    assert vectors.shape == (2, 384)
    assert vectors[0, :5] == pytest.approx([0.0676569, 0.0634960, 0.0487131, 0.0793050, 0.0374481], abs=2e-6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(2))


@needs("minilm")
def test_embeddings_know_meaning_without_a_common_word() -> None:
    scores = baselines.embedding_cosine(
        ["The cat sat on the mat."], ["A feline rested upon some rug.", "Interest rates rose again, said one banker."]
    )
    assert scores[0, 0] > 0.4
    assert scores[0, 1] < 0.2


@needs("minilm")
def test_a_long_text_is_cut_and_a_missing_model_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = "word " * 400
    assert np.allclose(*baselines.embed([long, long[: 5 * 300]]))
    monkeypatch.setattr(baselines, "EMBEDDING_SHA256", "0" * 64)
    with pytest.raises(baselines.NotInstalled, match="another model"):
        baselines.embed(["x"])
    monkeypatch.setattr(baselines, "EMBEDDING_PACKAGE", "no_such_package")
    with pytest.raises(baselines.NotInstalled, match="make setup-bench"):
        baselines.embed(["x"])


def test_volume_is_the_same_for_every_query() -> None:
    assert baselines.volume(2, ["one two, three", "four"]).tolist() == [[3, 1], [3, 1]]


def test_popularity_forgets_the_query_and_nothing_else() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 4))
    popular = baselines.popularity(scores)
    assert np.allclose(popular, scores.mean(0))
    assert np.array_equal(baselines.popularity(popular), popular)


def test_shuffled_scores_agree_with_nothing() -> None:
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(400, 15)) + draw.normal(size=15)  # with a popularity that all queries share
    dealt = baselines.shuffled(scores)
    assert np.array_equal(np.sort(dealt), np.sort(scores))
    assert abs(agreement.leave_one_out(dealt, scores).mean()) < 0.05
    assert np.array_equal(dealt, baselines.shuffled(scores))
