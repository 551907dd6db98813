"""That the comparison is fair: what dattri computes of our adapter is what it should be, on a tiny model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bench.lds.study import Setting, Study, Truth
from bench.peers import adapted, in_dattri, own, scene
from bench.peers.arm import Arm, Failure
from services.factory import passes
from tests import tiny_model
from tests.factory_world import offer
from tests.needs import needs

pytestmark = [needs("hpo"), pytest.mark.long, pytest.mark.timeout(300)]
SMALL = Setting("small", base="tiny", contributors=3, records=3, queries=1, layers=2, epochs=2, subsets=3)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("peers")
    with pytest.MonkeyPatch.context() as patch:
        offer(folder / "bases.toml", tiny=tiny_model.make(folder / "tiny", layers=2, context=1024))
        patch.setenv("OPENLEDGER_BASE_MODELS", str(folder / "bases.toml"))
        yield Study(SMALL, folder / "retrained")


@pytest.fixture(scope="module")
def ended(study: Study) -> scene.Scene:
    return scene.ended(study, study.truth())


@pytest.fixture(scope="module")
def arms(study: Study, ended: scene.Scene) -> dict[tuple[str, str], Arm | Failure]:
    found: list[Arm | Failure] = []
    for room, some in ((scene.followed(study, ended.truth), own.arms), (ended, in_dattri.arms)):
        with room.run.attached():
            found += some(room)
    return {(arm.library.split(" ")[0], arm.method): arm for arm in found}


def of(arms: dict[tuple[str, str], Arm | Failure], library: str, method: str) -> Arm:
    arm = arms[library, method]
    assert isinstance(arm, Arm), arm
    return arm


@pytest.mark.parametrize(("theirs", "ours"), (("Grad-Dot", "gradient-dot"), ("Grad-Cos", "gradient-cosine")))
def test_the_same_quantity_is_the_same_number(
    theirs: str, ours: str, arms: dict[tuple[str, str], Arm | Failure]
) -> None:
    found, expected = of(arms, "dattri", theirs).scores, of(arms, "openledger", ours).scores
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_losses_are_those_of_the_fine_tune_padded_or_not(ended: scene.Scene) -> None:
    study = ended.study
    with ended.run.attached():
        model = in_dattri.world(ended).model
        together = model.losses(*adapted.tensors(study.trunk, study.training))
        alone = model.losses(*(tensor[0] for tensor in adapted.tensors(study.trunk, study.training[:1])))
        expected, _ = passes.evaluate(study.trunk, study.training)
    assert torch.allclose(together, expected, atol=1e-5)
    assert torch.allclose(alone, expected[0], atol=1e-5)


def test_only_the_adapter_is_seen_and_it_is_left_as_it_was(ended: scene.Scene) -> None:
    before = ended.run.theta.clone()
    with ended.run.attached():
        model = in_dattri.world(ended).model
        seen = torch.cat([weight.detach().flatten() for weight in model.parameters()])
        with in_dattri.weights_put_back(ended):
            model.load_state_dict({name: torch.zeros_like(w) for name, w in model.state_dict().items()})
            assert not ended.run.theta.any()
    assert torch.equal(seen, before)
    assert torch.equal(ended.run.theta, before)


def test_every_method_has_finite_scores_and_costs_or_says_why_not(arms: dict[tuple[str, str], Arm | Failure]) -> None:
    assert len(arms) == len(own.SCORERS) + 2 + len(in_dattri.METHODS)
    for (_, method), arm in arms.items():
        if method == "EK-FAC":
            assert isinstance(arm, Failure)
            assert "a_prev" in arm.error
            continue
        assert isinstance(arm, Arm), arm
        assert arm.scores.shape == (3, 3)
        assert np.isfinite(arm.scores).all()
        assert arm.answer_seconds > 0
        assert (arm.kept > 0) == (arm.grows_with != "nothing")


def test_models_of_another_training_are_refused(study: Study) -> None:
    truth = study.truth()
    other = Truth(**(vars(truth) | {"full": truth.full + 1}))
    with pytest.raises(SystemExit, match="another training"):
        scene.followed(study, other)
