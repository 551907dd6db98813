from __future__ import annotations

import json

import pytest

from openledger import canonical
from services.factory.spec import FineTuneSpec, SpecError


def test_json_round_trip_through_canonical_bytes() -> None:
    spec = FineTuneSpec(rank=4, learning_rate=5e-4, prompt_template="What is {name}?", completion_template="{text}")
    assert FineTuneSpec.from_json(json.loads(canonical.dumps(spec.to_json()))) == spec


def test_absent_fields_take_defaults_and_whole_numbers_are_numbers() -> None:
    assert FineTuneSpec.from_json({}) == FineTuneSpec()
    assert FineTuneSpec.from_json({"held_out": 0}).held_out == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    (
        ("base", ""),
        ("rank", 0),
        ("rank", 8.0),
        ("rank", True),
        ("alpha", 0),
        ("layers", 0),
        ("epochs", 101),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", "0.1"),
        ("precision", "float16"),
        ("seed", -1),
        ("max_length", 7),
        ("placebos", 65),
        ("held_out", 0.6),
        ("prompt_template", "no field"),
        ("completion_template", None),
        ("weight_decay", 0.1),
        ("clip", 1.0),
    ),
)
def test_bad_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(SpecError, match=field):
        FineTuneSpec.from_json({field: value})


def test_only_an_object_is_a_specification() -> None:
    with pytest.raises(SpecError, match="JSON object"):
        FineTuneSpec.from_json([])
