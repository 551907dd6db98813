from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from openledger.influence.decoder import Decoder
from services.factory.counterfactual import Retraining, halves
from services.factory.data import split, tokenise
from services.factory.training_run import TrainingRun
from tests.unit.services.factory.conftest import records, spec


@pytest.fixture(scope="module", params=(False, True), ids=("lora", "dora"))
def run(request: pytest.FixtureRequest, base: Path, tokenizer: Any) -> TrainingRun:
    settings = spec(epochs=2, clip_norm=0.5, weight_decay=0.1, evaluations=0, dora=request.param)
    training, _ = split(tokenise(records(5, 4), settings, tokenizer).examples, 0.0, settings.seed)
    run = TrainingRun(settings, Decoder.load(base), training)
    run.trunk.prepare(training, "float32", lambda _: None)
    with run.attached():
        while run.done < len(run.plan):
            run.step()
    return run


def test_without_nobody_it_is_the_run_itself(run: TrainingRun) -> None:
    theta, losses = Retraining(run.spec, run.trunk, run.training).run((), run.training[:3])
    assert torch.equal(theta, run.theta)
    with run.attached():
        assert torch.equal(losses, run.evaluate(run.training[:3])[0])


def test_shadows_say_where_training_without_a_contributor_ends(run: TrainingRun) -> None:
    retraining = Retraining(run.spec, run.trunk, run.training)
    truth = torch.stack([run.theta - retraining.run([who])[0] for who in run.row])
    predicted = run.shadows.vectors()[: len(run.row)]
    error = (predicted - truth).norm(dim=1) / truth.norm(dim=1)
    assert float(error.max()) < 0.5
    assert float(torch.nn.functional.cosine_similarity(predicted, truth).min()) > 0.9


def test_without_everybody_nothing_is_learnt(run: TrainingRun) -> None:
    retraining = Retraining(run.spec, run.trunk, run.training)
    assert torch.equal(retraining.run(list(run.row))[0], retraining.run([*run.row, "somebody else"])[0])


def test_halves_are_halves_and_differ() -> None:
    masks = halves(7, 20, seed=3)
    assert masks.shape == (20, 7)
    assert (masks.sum(1) == 3).all()
    assert len({mask.tobytes() for mask in masks}) == 20
    assert (halves(7, 20, seed=3) == masks).all()
    assert halves(2, 5, seed=0).shape == (5, 2), "more than there are different ones"
