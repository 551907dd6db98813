"""Drill-down to records: against the scorers on full gradients, and on a small model that was trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from openledger.influence import drill_down, record_scores
from openledger.influence.adapter_config import ALL_LINEAR, AdapterConfig
from openledger.influence.decoder import Decoder
from openledger.influence.drill_down import DEFAULT, SCORERS, USUAL, DrillDownError, sketch_answer, top_records
from openledger.influence.lora import Adapter, attached
from openledger.influence.metric import KINDS, Metric
from openledger.influence.parameters import Parameter, sizes
from openledger.influence.quantize import quantise
from openledger.influence.record_sketches import Header, RecordSketches, Rows, encode

PROMPT, LENGTH, RECORDS, PEOPLE = 6, 24, 60, 4


@dataclass(frozen=True)
class Trained:
    """The end of training: gradients of records [N, P] and answers [Q, P], Adam's v and m over corrections."""

    parameters: tuple[Parameter, ...]
    records: np.ndarray
    answers: np.ndarray
    v: np.ndarray
    m: np.ndarray

    def exact(self) -> record_scores.Gradients:
        return record_scores.Gradients(self.answers, self.records, sizes(self.parameters), self.v, self.m)

    def sketched(self, kind: str) -> RecordSketches:
        metric = Metric.of(kind, self.v, sizes(self.parameters))
        header = Header(
            "a seed", 32_640, kind, self.parameters, tuple((who(c), RECORDS // PEOPLE) for c in range(PEOPLE))
        )
        steps = record_scores.Less().step(self.records, self.v, self.m) if kind == "less" else None
        rows = Rows.of(header, metric, range(RECORDS), self.records, steps)
        return RecordSketches.from_bytes(b"".join(encode(header, metric, [rows])))


def who(contributor: int) -> str:
    return f"0x{contributor:040x}"


@pytest.fixture(scope="module")
def trained(decoder: Decoder) -> Trained:
    """Records that share words, trained on for three epochs; answers: every sixth record, said again."""
    draw = torch.Generator().manual_seed(0)
    words = torch.randint(3, 260, (12, 6), generator=draw)
    texts = words[torch.randint(12, (RECORDS, LENGTH // 6), generator=draw)].view(RECORDS, LENGTH)
    texts[:, -6:] = torch.randint(3, 260, (RECORDS, 6), generator=draw)  # of its own
    adapter = Adapter.initialise(AdapterConfig("tiny", 4, 8, ALL_LINEAR, (2, 3)), decoder.model, draw)
    with attached(decoder.model, adapter) as maps:
        weights = [linear.weight for linear in maps.values()]

        def gradient(ids: torch.Tensor) -> torch.Tensor:
            logits = decoder.model(input_ids=ids).logits[:, PROMPT - 1 : -1]
            loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, PROMPT:].flatten())
            return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])

        v = m = torch.zeros(sum(weight.numel() for weight in weights))
        for step in range(1, 19):
            g = gradient(texts[torch.arange(10) + 10 * (step % 6)])
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
            move = 3e-3 * (m / (1 - 0.9**step)) / ((v / (1 - 0.95**step)).sqrt() + 1e-8)
            with torch.no_grad():
                for weight, part in zip(weights, move.split([w.numel() for w in weights]), strict=True):
                    weight.sub_(part.view_as(weight))
        records = torch.stack([gradient(text[None]) for text in texts]).numpy()
    return Trained(adapter.parameters, records, records[::6], (v / (1 - 0.95**18)).numpy(), (m / (1 - 0.9**18)).numpy())


def test_every_kind_has_a_usual_scorer_of_its_own() -> None:
    assert set(USUAL) == set(KINDS)
    assert all(SCORERS[name].kind == kind for kind, name in USUAL.items())


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_scores_agree_with_those_of_full_gradients(trained: Trained, name: str) -> None:
    sketches = trained.sketched(SCORERS[name].kind)
    exact = record_scores.SCORERS[name](trained.exact())
    found = [drill_down.score(sketches.rows, sketch_answer(sketches, each), name) for each in trained.answers]
    ranks = [spearmanr(*pair)[0] for pair in zip(found, exact, strict=True)]
    assert np.mean(ranks) > 0.85


@pytest.mark.parametrize("name", ("gradient-cosine", "adam-cosine", "less"))
def test_a_cosine_is_one(trained: Trained, name: str) -> None:
    sketches = trained.sketched(SCORERS[name].kind)
    exact = record_scores.SCORERS[name](trained.exact())
    found = [drill_down.score(sketches.rows, sketch_answer(sketches, each), name) for each in trained.answers]
    assert np.abs(found - exact).max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_that_is_said_again_is_found_first_among_sixty(trained: Trained, kind: str) -> None:
    """By the answer's gradient as it is published, in int8, over all contributors and within its own."""
    sketches = trained.sketched(kind)
    layout = sizes(trained.parameters)
    for number, gradient in enumerate(trained.answers):
        answer = sketch_answer(sketches, quantise(gradient, layout).to_float())
        for scorer in (name for name, way in SCORERS.items() if way.kind == kind):
            found = top_records(sketches, answer, map(who, range(PEOPLE)), 3, scorer)
            first = max((best[0] for best in found.values()), key=lambda record: record.score)
            assert first.leaf == 6 * number
            assert first in found[who(6 * number // (RECORDS // PEOPLE))]


def test_the_best_come_first_with_their_errors(trained: Trained) -> None:
    sketches = trained.sketched("adam")
    answer = sketch_answer(sketches, trained.answers[0])
    scores = drill_down.score(sketches.of(who(1)), answer, DEFAULT)
    best = top_records(sketches, answer, [who(1)], 5)[who(1)]
    assert [record.score for record in best] == sorted(scores, reverse=True)[:5]
    assert [record.leaf for record in best] == (15 + np.argsort(-scores)[:5]).tolist()
    assert all(0 < record.error < 0.05 for record in best if record.error is not None)
    assert all(record.error is None for record in top_records(sketches, answer, [who(1)], 5, "adam-fisher")[who(1)])


def test_what_a_record_scores_does_not_depend_on_who_else_is_read(trained: Trained) -> None:
    sketches = trained.sketched("adam")
    answer = sketch_answer(sketches, trained.answers[3])
    everyone = top_records(sketches, answer, map(who, range(PEOPLE)), 100)
    for c in range(PEOPLE):
        assert top_records(sketches, answer, [who(c)], 100)[who(c)] == everyone[who(c)]
    assert sum(map(len, everyone.values())) == RECORDS


def test_nothing_of_a_contributor_without_records_and_equal_records_by_leaf(trained: Trained) -> None:
    sketches = trained.sketched("adam")
    answer = sketch_answer(sketches, trained.answers[0])
    assert top_records(sketches, answer, [who(9)]) == {who(9): []}
    silent = sketch_answer(sketches, np.zeros_like(trained.answers[0]))
    assert [record.leaf for record in top_records(sketches, silent, [who(2)], 4)[who(2)]] == [30, 31, 32, 33]


def test_what_cannot_be_answered_is_refused(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    sketches = trained.sketched("adam")
    answer = sketch_answer(sketches, trained.answers[0])
    with pytest.raises(DrillDownError, match="they know adam-dot, adam-cosine, adam-fisher"):
        top_records(sketches, answer, [who(0)], 3, "datainf")
    with pytest.raises(DrillDownError, match="at least 1"):
        top_records(sketches, answer, [who(0)], 0)
    with pytest.raises(DrillDownError, match="gradient has shape"):
        sketch_answer(sketches, trained.answers[0][1:])
    monkeypatch.setattr(drill_down, "TOGETHER", 14)
    with pytest.raises(DrillDownError, match="at most 14 records"):
        top_records(sketches, answer, [who(0)], 3, "adam-fisher")
