"""The LoRA arithmetic of one layer, grouped and vLLM's own: both are right, and every shape has its row."""

from __future__ import annotations

import pytest

from bench import lora_op
from bench.lora_op import Size
from tests.needs import needs

pytestmark = needs("vllm")


@pytest.fixture(scope="module")
def rows():
    return lora_op.measure(Size(tokens=(1, 4, 20), adapters=(1, 4), repeats=2))


def test_every_shape_that_there_can_be_has_a_row(rows):
    assert [(row["tokens"], row["adapters"]) for row in rows] == [(1, 1), (4, 1), (4, 4), (20, 1), (20, 4)]
    assert all(row["stock_ms"] > 0 and row["grouped_ms"] > 0 for row in rows)


def test_both_are_right_to_the_precision_of_their_numbers(rows):
    assert all(row["stock_error"] < 0.01 and row["grouped_error"] < 0.01 for row in rows), rows


def test_figures_name_every_shape(rows):
    found = lora_op.figures(rows)
    assert found["lora_op_speedup_20_4"] == rows[-1]["speedup"]
    assert found["lora_op_speedup_least"] <= found["lora_op_speedup"] <= found["lora_op_speedup_most"]
