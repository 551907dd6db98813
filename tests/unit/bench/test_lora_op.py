"""The LoRA arithmetic of one layer, grouped and vLLM's own: both are right, and every shape has its row."""

from __future__ import annotations

import pytest

from bench import lora_op
from bench.lora_op import Size
from tests.needs import needs

pytestmark = [needs("vllm"), pytest.mark.long]


@pytest.fixture(scope="module")
def rows():
    return lora_op.measure(Size(tokens=(1, 4, 20), adapters=(1, 4), repeats=2))


def of(rows, dtype):
    return [row for row in rows if row["dtype"] == dtype]


def test_every_shape_that_there_can_be_has_a_row(rows):
    for dtype in ("float32", "bfloat16"):
        shapes = [(row["tokens"], row["adapters"]) for row in of(rows, dtype)]
        assert shapes == [(1, 1), (4, 1), (4, 4), (20, 1), (20, 4)]
    assert all(row["stock_ms"] > 0 and row["grouped_ms"] > 0 for row in rows)


def test_both_are_right_to_the_precision_of_their_numbers(rows):
    for dtype, error in (("float32", 1e-5), ("bfloat16", 0.01)):
        assert all(row["stock_error"] < error and row["grouped_error"] < error for row in of(rows, dtype)), rows


def test_figures_say_least_and_most_of_each_type(rows):
    found = lora_op.figures(rows)
    for dtype in ("float32", "bfloat16"):
        speedups = [row["speedup"] for row in of(rows, dtype)]
        name = f"lora_op_speedup_{dtype}"
        assert (found[f"{name}_least"], found[f"{name}_most"]) == (min(speedups), max(speedups))
        assert found[f"{name}_least"] <= found[name] <= found[f"{name}_most"]
