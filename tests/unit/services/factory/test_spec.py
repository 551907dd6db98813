from __future__ import annotations

import json
from typing import Any

import pytest

from openledger import canonical
from openledger.common.v1 import rules_pb2
from openledger.factory.v1 import factory_pb2 as pb
from openledger.influence.adapter_config import ALL_LINEAR
from services.factory.spec import RULES, FineTuneSpec, SpecError, unsupported


def test_json_round_trip_through_canonical_bytes() -> None:
    spec = FineTuneSpec(
        rank=4,
        learning_rate=5e-4,
        dora=True,
        weight_decay=1.0,
        prompt_template="What is {name}?",
        completion_template="{text}",
    )
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
        ("layers", -1),
        ("epochs", 101),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", "0.1"),
        ("precision", "float16"),
        ("seed", -1),
        ("quantise", "int8"),
        ("max_length", 7),
        ("placebos", 65),
        ("held_out", 0.6),
        ("prompt_template", "no field"),
        ("completion_template", None),
        ("weight_decay", -0.1),
        ("clip_norm", float("inf")),
        ("clip", 1.0),
        ("schedule", "polynomial"),
        ("warm_up", 1.5),
        ("dora", 1),
        ("rslora", "yes"),
        ("targets", []),
        ("targets", ["q_proj", "q_proj"]),
        ("targets", ["lm_head"]),
        ("targets", "q_proj"),
        ("targets", [["q_proj"]]),
        ("evaluations", 1001),
        ("curvature_samples", 0),
        ("curvature_share", 0.0),
        ("canaries", 65),
        ("halves", -1),
        ("leave_one_out", None),
    ),
)
def test_bad_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(SpecError, match=field):
        FineTuneSpec.from_json({field: value})


def test_dora_is_obeyed() -> None:
    assert unsupported(FineTuneSpec(dora=True)) == ""


def test_only_an_object_is_a_specification() -> None:
    with pytest.raises(SpecError, match="JSON object"):
        FineTuneSpec.from_json([])


def test_the_order_in_which_targets_are_written_makes_no_other_run() -> None:
    one, other = (
        FineTuneSpec.from_json({"targets": list(names)}) for names in (("v_proj", "q_proj"), ("q_proj", "v_proj"))
    )
    assert one == other
    assert one.target_modules == ("q_proj", "v_proj")
    assert FineTuneSpec.from_json(json.loads(canonical.dumps(one.to_json()))) == one


def test_all_linear_maps_are_the_default() -> None:
    assert FineTuneSpec().target_modules == ALL_LINEAR
    assert FineTuneSpec.from_json({"targets": "all-linear"}) == FineTuneSpec()


@pytest.mark.parametrize("nothing_to_wait_for", ({"evaluations": 0}, {"held_out": 0.0}))
def test_patience_needs_something_to_wait_for(nothing_to_wait_for: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="patience"):
        FineTuneSpec.from_json({"patience": 2} | nothing_to_wait_for)


def test_dora_needs_the_bases_own_rows() -> None:
    with pytest.raises(SpecError, match="dora"):
        FineTuneSpec.from_json({"dora": True, "quantise": "nf4"})


def test_too_few_halves_are_not_passed_over() -> None:
    assert "halves: 3 are too few" in unsupported(FineTuneSpec(halves=3))
    assert unsupported(FineTuneSpec(halves=4, leave_one_out=True)) == ""
    assert [FineTuneSpec(**asked).trained_again for asked in ({}, {"halves": 4}, {"leave_one_out": True})] == [
        False,
        True,
        True,
    ]


def rules(field: str) -> Any:
    return pb.FineTuneSpec.DESCRIPTOR.fields_by_name[field].GetOptions().Extensions[rules_pb2.rules]


@pytest.mark.parametrize("field", [field for field, (kind, _, _) in RULES.items() if kind in (int, float)])
def test_numbers_have_the_same_bounds_in_the_api_and_in_a_run_file(field: str) -> None:
    kind, _, holds = RULES[field]
    low, high = (0, 2**32 - 1) if field == "seed" else (rules(field).min, rules(field).max)
    beyond = (low - 1, high + 1) if kind is int else (low - 1e-9, high * 1.001)
    assert [holds(kind(value)) for value in (low, high, *beyond)] == [True, True, False, False]


@pytest.mark.parametrize("field", ("base", "prompt_template", "completion_template"))
def test_texts_have_the_same_bounds_in_the_api_and_in_a_run_file(field: str) -> None:
    _, _, holds = RULES[field]
    assert [holds("x" * (rules(field).max_len + more)) for more in (0, 1)] == [True, False]


def test_a_learning_rate_of_ten_is_refused_with_its_bounds() -> None:
    for rate in (10, 10.0):
        with pytest.raises(SpecError, match=r"learning_rate must be a number from 1e-07 to 0.1, got 10.0"):
            FineTuneSpec.from_json({"learning_rate": rate})


@pytest.mark.parametrize(
    "document",
    (
        {"learning_rate": 10**400},
        {"rank": int("F" * 60_000, 16)},
        {"seed": 2**32},
        {"prompt_template": "x" * 100_000},
        {"targets": ["x" * 100_000]},
        {"targets": [["q_proj"]]},
        {"x" * 100_000: 1},
        {10**5000: 1},
        {"prompt_template": ["x"] * 100_000},
    ),
)
def test_a_mistake_is_told_in_few_words_however_long_it_is(document: dict[Any, Any]) -> None:
    with pytest.raises(SpecError) as error:
        FineTuneSpec.from_json(document)
    assert len(str(error.value)) < 400
