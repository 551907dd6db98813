"""What is published beside what training again gave, without any training."""

from __future__ import annotations

import numpy as np
import pytest

from openledger import canonical
from services.factory.alike import Comparison
from services.factory.claims import Training
from tests.made_up_revision import LEFT_OUT, LOSSES, PEOPLE, ROWS, THETA, an_index, output, revision, weights


@pytest.fixture
def made(tmp_path):
    return revision(tmp_path / "artifacts")


def compared(made, folder, mean=2.0, **changes):
    """By name."""
    comparison = Comparison(made.claims)
    found = {one.what: one for one in comparison.run(output(folder, **changes), mean)}
    return comparison, found


def test_the_same_is_byte_for_byte(made, tmp_path):
    comparison, found = compared(made, tmp_path / "out")
    assert comparison.machine.exact
    assert len(found) == 3 + len(PEOPLE) + 2
    assert all(one.same and not one.wrong for one in found.values())


def test_an_adapter_that_is_served_by_another_configuration_is_found(made, tmp_path):
    """Its layers are the last ones of the base model, which documents do not know."""
    config = canonical.parse_json(made.files["adapter_config.json"]) | {"layers_to_transform": [3, 4]}
    _, found = compared(made, tmp_path / "out", config=canonical.dumps(config))
    assert "not what training gives" in found["adapter_config.json"].wrong
    assert [name for name, one in found.items() if one.wrong] == ["adapter_config.json"]


def flipped(theta=THETA):
    """The last bit of one weight."""
    bits = theta.view(np.uint32).copy()
    bits[7] ^= 1
    return bits.view(np.float32)


def lied(rows, number=1, by=0.03):
    """By that much of its length, aside: a direction that pays."""
    changed, aside = rows.copy(), np.random.default_rng(9).standard_normal(rows.shape[1]).astype(np.float32)
    changed[number] += by * np.linalg.norm(rows[number]) * aside / np.linalg.norm(aside)
    return changed


@pytest.mark.parametrize("data", (weights(metadata={"format": "pt", "more": "1"}), weights(flipped())))
def test_changing_the_adapters_file_by_a_byte_hides_no_lie(made, tmp_path, data):
    """As on another kind of machine, where all rows would be off, and not one alone."""
    made.files["adapter_model.safetensors"] = data
    _, found = compared(made, tmp_path / "true")
    assert not [one for one in found.values() if one.wrong or one.odd]
    made.files["contribution_index.safetensors"] = an_index(lied(ROWS))
    comparison, found = compared(made, tmp_path / "out")
    assert comparison.machine.alike
    assert [name for name, one in found.items() if one.wrong] == [f"the contribution of {PEOPLE[1]}"]


def without(comparison, folder, number=1, **changes):
    training = Training("left_out", number, "the training without somebody", frozenset(), "")
    return list(comparison.training(training, output(folder, **changes)))


def test_a_lie_about_leaving_somebody_out_is_not_hidden_by_moving_the_adapter(made, tmp_path):
    aside = np.random.default_rng(5).standard_normal(len(THETA)).astype(np.float32)
    moved = THETA + 1e-5 * np.linalg.norm(THETA) * aside / np.linalg.norm(aside)
    made.files["adapter_model.safetensors"] = weights(moved)
    comparison, found = compared(made, tmp_path / "out")
    assert not [one for one in found.values() if one.wrong]
    true, *_ = without(comparison, tmp_path / "true", theta=THETA - LEFT_OUT[1], losses=LOSSES)
    assert not true.wrong
    made.files["leave_one_out_index.safetensors"] = an_index(lied(LEFT_OUT))
    comparison, _ = compared(made, tmp_path / "again")
    lie, *_ = without(comparison, tmp_path / "lie", theta=THETA - LEFT_OUT[1], losses=LOSSES)
    assert lie.wrong


def test_a_loss_that_is_not_published_is_wrong(made, tmp_path):
    made.more["metrics"] = {"steps": 8}
    assert "not published" in compared(made, tmp_path / "out")[1]["the held-out loss"].wrong
    assert "the held-out loss" not in compared(made, tmp_path / "none", mean=None)[1], "there are no held-out records"


@pytest.mark.parametrize(
    ("losses", "judged", "told"),
    (((1.1, 2.1, 3.1), 3, ""), ((1.1, np.inf, 3.1), 3, "finite"), ((1.1, 2.1, 3.1), 2, "finite")),
)
def test_rises_are_compared_where_all_losses_are_finite(made, tmp_path, losses, judged, told):
    """A record that is not finite under another model is left out of the published means, too."""
    made.says("audit.json", judged=judged)
    comparison, _ = compared(made, tmp_path / "out")
    *_, rise = without(comparison, tmp_path / "it", theta=THETA - LEFT_OUT[1], losses=np.array(losses))
    assert (rise.wrong, told in rise.odd) == ("", True)
    if not told:
        *_, rise = without(comparison, tmp_path / "other", theta=THETA - LEFT_OUT[1], losses=np.array(losses) + 0.01)
        assert rise.wrong
