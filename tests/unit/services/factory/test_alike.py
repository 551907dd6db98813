"""What is published beside what training again gave, without any training."""

from __future__ import annotations

import pytest

from openledger import canonical
from services.factory.alike import Comparison
from tests.made_up_revision import PEOPLE, output, revision


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
    assert comparison.exact
    assert len(found) == 3 + len(PEOPLE) + 2
    assert all(one.same and not one.wrong for one in found.values())


def test_an_adapter_that_is_served_by_another_configuration_is_found(made, tmp_path):
    """Its layers are the last ones of the base model, which documents do not know."""
    config = canonical.parse_json(made.files["adapter_config.json"]) | {"layers_to_transform": [3, 4]}
    _, found = compared(made, tmp_path / "out", config=canonical.dumps(config))
    assert "not what training gives" in found["adapter_config.json"].wrong
    assert [name for name, one in found.items() if one.wrong] == ["adapter_config.json"]
