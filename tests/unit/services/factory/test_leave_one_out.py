"""The claim that payments rest on: scores from one run agree with really training again without each contributor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from openledger.influence.adapter_config import AdapterConfig
from openledger.influence.decoder import Decoder
from openledger.influence.dora import MAGNITUDE
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex
from openledger.influence.lora import Adapter, attached
from openledger.influence.quantize import NAT
from openledger.influence.score import scores
from services.factory.data import Example, split, tokenise
from services.factory.schedule import batches, learning_rate, seeded
from services.factory.spec import FineTuneSpec
from services.factory.train import TrainResult, train
from tests.unit.services.factory.conftest import records, spec

CONTRIBUTORS, TRAIN, ASK = 8, 6, 2
Matrix = npt.NDArray[np.float64]


@dataclass
class Study:
    """queries x contributors: estimated and true rise of the loss without the contributor; and two other estimates."""

    result: TrainResult
    retrained: dict[str, torch.Tensor]
    score: Matrix
    placebo: Matrix
    truth: Matrix
    gradient_dot: Matrix


def plain_training(spec: FineTuneSpec, decoder: Decoder, data: list[Example], without: str | None) -> Adapter:
    """The same run by plain autograd and torch's AdamW, the left-out contributor's records at weight 0."""
    layers = tuple(range(decoder.layers - spec.layers, decoder.layers))
    config = AdapterConfig(spec.base, spec.rank, spec.alpha, spec.target_modules, layers, dora=spec.dora)
    adapter = Adapter.initialise(config, decoder.model, seeded(spec.seed, "initialise"))
    plan = batches(spec, len(data))
    with attached(decoder.model, adapter) as maps:
        weights = [linear.weight for linear in maps.values()]
        optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
        for step, members in enumerate(plan):
            optimizer.param_groups[0]["lr"] = learning_rate(spec, step, len(plan))
            present = [data[i] for i in members if data[i].contributor != without]
            total = sum((loss(decoder, example) for example in present), torch.zeros((), requires_grad=True))
            gradients = torch.autograd.grad(total / len(members), weights, allow_unused=True)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = torch.zeros_like(weight) if gradient is None else gradient
            optimizer.step()
    return adapter


def loss(decoder: Decoder, example: Example) -> torch.Tensor:
    ids = torch.tensor([[*example.prompt, *example.completion]])
    labels = torch.tensor([[-100] * len(example.prompt) + list(example.completion)])
    result: torch.Tensor = decoder.model(input_ids=ids, labels=labels).loss
    return result


def losses(decoder: Decoder, adapter: Adapter, queries: tuple[Example, ...]) -> Matrix:
    with torch.no_grad(), attached(decoder.model, adapter):
        return np.array([loss(decoder, query).item() for query in queries])


@pytest.fixture(scope="module", params=(False, True), ids=("lora", "dora"))
def study(
    request: pytest.FixtureRequest, base: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    settings = spec(epochs=3, dora=request.param)
    everything = tokenise(records(CONTRIBUTORS, TRAIN + ASK), settings, tokenizer).examples
    asked = tuple(example for i, example in enumerate(everything) if i % (TRAIN + ASK) >= TRAIN)
    data, _ = split([example for example in everything if example not in asked], 0.0, settings.seed)
    result = train(settings, data, base, tmp_path_factory.mktemp("out"))

    decoder, scorer = Decoder.load(base), Scorer(base)
    index = ContributionIndex.open(result.folder / "contribution_index.safetensors")
    gradients = {e.record: scorer.answer(result.folder, e.prompt, e.completion).gradient for e in everything}
    scored = [scores(gradients[query.record], index) for query in asked]
    retrained = {who: plain_training(settings, decoder, data, who) for who in ("", *result.contributors)}
    full = losses(decoder, retrained[""], asked)
    flat = {name: gradient.to_float() for name, gradient in gradients.items()}
    theirs = {who: sum(flat[e.record] for e in data if e.contributor == who) for who in result.contributors}
    return Study(
        result,
        {who: torch.cat([a.tensors[p.name].flatten() for p in a.parameters]) for who, a in retrained.items()},
        np.array([[s.contributors[who] / NAT for who in result.contributors] for s in scored]),
        np.array([[placebo / NAT for placebo in s.placebos] for s in scored]),
        np.array([losses(decoder, retrained[who], asked) - full for who in result.contributors]).T,
        np.array([[flat[query.record] @ theirs[who] for who in result.contributors] for query in asked]),
    )


def spearman(estimate: Matrix, truth: Matrix) -> float:
    """Mean over queries of the rank correlation over contributors."""
    ranks = [np.argsort(np.argsort(matrix, axis=1), axis=1) for matrix in (estimate, truth)]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)]))


def test_training_is_what_it_says(study: Study) -> None:
    """The factory's one-pass training equals plain autograd with torch's AdamW."""
    adapter = Adapter.load(study.result.folder)
    ours = torch.cat([adapter.tensors[p.name].flatten() for p in adapter.parameters])
    assert float((ours - study.retrained[""]).abs().max()) < 1e-4
    assert float((ours - study.retrained[f"0x{0:040x}"]).abs().max()) > 1e-3


def test_displacements_point_where_retraining_leads(study: Study) -> None:
    index = ContributionIndex.open(study.result.folder / "contribution_index.safetensors")
    for row, who in enumerate(index.header.contributors):
        estimated, true = index.row(row).to_float(), (study.retrained[""] - study.retrained[who]).double().numpy()
        assert estimated @ true > 0.98 * np.linalg.norm(estimated) * np.linalg.norm(true)
        start = 0
        for parameter in study.result.parameters:
            part = slice(start, start + parameter.size)
            if parameter.name.endswith(MAGNITUDE):
                cosine = estimated[part] @ true[part] / np.linalg.norm(estimated[part]) / np.linalg.norm(true[part])
                assert cosine > 0.9
            start += parameter.size


def test_scores_rank_contributors_as_retraining_does(study: Study) -> None:
    agreement = spearman(study.score, study.truth)
    assert agreement > 0.9
    assert agreement > spearman(study.gradient_dot, study.truth) + 0.08


def test_shuffled_scores_and_one_vector_for_all_queries_do_not(study: Study) -> None:
    rng = np.random.default_rng(0)
    shuffled = np.array([rng.permutation(row) for row in study.score])
    popularity = np.repeat(study.score.mean(axis=0, keepdims=True), len(study.score), axis=0)
    assert abs(spearman(shuffled, study.truth)) < 0.3
    assert spearman(popularity, study.truth) < 0.5


def test_scores_have_the_size_of_the_true_change(study: Study) -> None:
    slope = float((study.score * study.truth).sum() / (study.score**2).sum())
    assert 0.7 < slope < 1.5


def test_placebos_score_near_zero(study: Study) -> None:
    assert float(study.placebo.std()) < 0.4 * float(study.score.std())
