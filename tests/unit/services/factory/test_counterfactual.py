from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from openledger.influence.decoder import Decoder
from services.factory.counterfactual import Retraining, halves
from services.factory.data import split, tokenise
from services.factory.passes import Trunk
from services.factory.schedule import Plan
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


def test_steps_whose_records_all_weigh_nothing_are_taken_and_followed(base: Path, tokenizer: Any) -> None:
    """One contributor's records are whole batches: taken again without it, the run has steps with nothing in them."""
    settings = spec(epochs=2, batch_size=2, evaluations=0)
    training, _ = split(tokenise(records(3, 2), settings, tokenizer).examples, 0.0, settings.seed)
    gone = training[0].contributor
    plan = Plan([[0, 1], [2, 3], [4, 5], [1, 0]], [2] * 4)
    trunk = Trunk(Decoder.load(base), 2)
    trunk.prepare(training, "float32", lambda _: None)
    again = Retraining(settings, trunk, training, plan).trained([gone])
    kept = [i for i, example in enumerate(training) if example.contributor != gone]
    followed = TrainingRun(settings, trunk.decoder, [training[i] for i in kept], 0, plan.left(kept), trunk)
    with followed.attached():
        for _ in followed.plan:
            followed.step()
    empty = [not members for members in followed.plan]
    assert any(empty)
    assert [math.isnan(loss) for loss in followed.history.losses] == empty
    assert followed.history.last_loss is None or not empty[-1]
    assert torch.equal(followed.theta, again.theta)
    assert bool(torch.isfinite(followed.shadows.vectors()).all())
