"""What a revision's documents say that cannot be, found before anything is trained."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from openledger import canonical
from openledger.influence.parameters import Parameter
from services.factory.contradictions import contradictions
from tests.made_up_revision import LAYOUT, LEFT_OUT, PEOPLE, ROWS, SPEC, an_index, halves, revision

INDEX, LEFT, HALVES = "contribution_index", "leave_one_out_index", "halves_index"
OTHER = (Parameter("a", (3, 2)), *LAYOUT[1:])


@pytest.fixture
def made(tmp_path):
    return revision(tmp_path)


def test_documents_that_agree_contradict_nothing(made, tmp_path):
    assert contradictions(made.claims) == []
    assert contradictions(revision(tmp_path, replace(SPEC, halves=0, leave_one_out=False)).claims) == []


@pytest.mark.parametrize(
    ("name", "index"),
    (
        (INDEX, an_index(np.concatenate([ROWS, 1e6 * ROWS[:1]]))),
        (INDEX, an_index(ROWS[:-1])),
        (INDEX, an_index(ROWS[1:], PEOPLE[1:])),
        (INDEX, an_index(layout=OTHER)),
        (LEFT, an_index(LEFT_OUT, layout=OTHER)),
        (LEFT, an_index(np.concatenate([LEFT_OUT, ROWS[:1]]))),
        (LEFT, an_index(LEFT_OUT[1:], PEOPLE[1:])),
        (HALVES, an_index(LEFT_OUT[: len(halves())], (), OTHER)),
        (HALVES, an_index(LEFT_OUT[: len(halves()) - 1], ())),
        (HALVES, an_index(LEFT_OUT[: len(halves())], PEOPLE[: len(halves())])),
    ),
)
def test_an_index_with_other_rows_than_the_specification_gives_is_found(made, name, index):
    made.files[f"{name}.safetensors"] = index
    assert any(f"{name}.safetensors" in words for words in contradictions(made.claims))


def test_a_root_that_is_not_the_indexs_is_found(made):
    made.more["index_root"] = "1" * 64
    assert contradictions(made.claims) == [
        "the manifest's index_root is not that of its contribution_index.safetensors"
    ]


def test_whoever_has_a_record_that_is_held_out_has_one_that_is_not(made):
    made.trains(held_out=[["records/0-2", "0x" + "f" * 40]])
    assert "on none of whose it was trained" in contradictions(made.claims)[0]


@pytest.mark.parametrize(
    ("changes", "fits"),
    (
        ({"use_rslora": False}, True),
        ({"lora_alpha": 64}, False),
        ({"r": 4}, False),
        ({"use_rslora": True}, False),
        ({"use_dora": True}, False),
        ({"layers_to_transform": [0]}, False),
        ({"target_modules": ["q_proj"]}, False),
        ({"base_model_name_or_path": "another"}, False),
        ({"lora_dropout": 0.5}, False),
        ({"lora_bias": True}, False),
    ),
)
def test_an_adapters_configuration_is_the_specifications(made, changes, fits):
    made.says("adapter_config.json", **changes)
    assert bool(contradictions(made.claims)) is not fits


def test_a_configuration_of_before_there_were_switches_is_no_contradiction(made):
    document = json.loads(made.files["adapter_config.json"])
    made.files["adapter_config.json"] = canonical.dumps({k: v for k, v in document.items() if not k.startswith("use_")})
    assert contradictions(made.claims) == []


def test_a_run_ends_where_its_specification_says(made):
    made.trains(kept_step=1)
    made.says("audit.json", steps=1)
    made.more["metrics"] = {"steps": 1}
    assert contradictions(made.claims) == ["training.json ends after step 1; by specification it is step 8"]


@pytest.mark.parametrize(
    "changes",
    (
        {"batches": [[0, 8]] * 8},
        {"batches": [[-1]] * 8},
        {"batches": [["0"]] * 8},
        {"batches": [[True]] * 8},
        {"sizes": [2] * 7},
        {"sizes": [1] * 8},
        {"sizes": [2.5] * 8},
        {"kept_step": 0},
        {"kept_step": 9},
        {"kept_step": "8"},
    ),
)
def test_steps_are_of_the_runs_records(tmp_path, changes):
    made = revision(tmp_path, replace(SPEC, patience=1, halves=0, leave_one_out=False))
    made.trains(evaluations=[], held_out=[], **changes)
    made.more["metrics"] = {}
    assert "training.json has steps that are none of its records" in contradictions(made.claims)


def test_the_manifest_counts_the_steps_that_were_taken(made):
    made.more["metrics"] = {"steps": 7}
    assert contradictions(made.claims) == ["the manifest counts other steps than training.json"]


@pytest.mark.parametrize(
    ("patience", "evaluations", "kept", "fits"),
    (
        (1, [[3, 2.5], [5, 2.2], [8, 2.1]], 8, True),
        (1, [[3, 2.5], [5, 2.2], [8, 2.3]], 5, True),
        (1, [[3, 2.5], [5, 2.6]], 3, True),
        (2, [[3, 2.5], [5, 2.6], [8, 2.5]], 3, True),
        (1, [[3, 2.5], [5, 2.2], [8, 2.1]], 5, False),  # another than the best
        (1, [[3, 2.5], [5, 2.2]], 5, False),  # it had no reason to end
        (1, [[3, 2.5], [5, 2.6], [8, 2.1]], 8, False),  # it had one before
        (2, [[3, 2.5], [5, 2.6]], 3, False),
        (1, [[1, 2.5], [2, 2.6]], 1, False),  # it looks at other steps
        (1, [[3, 2.5], [5, 2.2], [8, 2.1], [9, 2.0]], 9, False),
        (1, [], 8, False),
    ),
)
def test_a_patient_run_keeps_the_best_step_of_those_that_it_looked_at(tmp_path, patience, evaluations, kept, fits):
    made = revision(tmp_path, replace(SPEC, patience=patience, halves=0, leave_one_out=False))
    made.trains(evaluations=evaluations, kept_step=kept)
    made.more["metrics"] = {"steps": kept}
    found = contradictions(made.claims)
    assert fits is not any("ends after step" in words for words in found)
    assert found == [] or not fits


def test_a_patient_run_without_held_out_records_goes_to_its_end(tmp_path):
    made = revision(tmp_path, replace(SPEC, patience=1, halves=0, leave_one_out=False))
    made.trains(evaluations=[], held_out=[])
    assert contradictions(made.claims) == []


def test_rises_are_of_everybody_who_was_left_out(made):
    rises = json.loads(made.files["audit.json"])["rises"]
    for some in ([], rises[1:], [*rises, rises[0]]):
        made.says("audit.json", rises=some)
        assert "rises" in contradictions(made.claims)[0]
    made.says("audit.json", rises=[])
    made.more["code"] = "openledger of before there were any"
    assert contradictions(made.claims) == []
    made.says("audit.json", rises=[], judged=0)
    del made.more["code"]
    assert contradictions(made.claims) == []
