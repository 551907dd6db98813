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
