"""Two parts in small, with the real service as a process of its own: a tiny model, the small engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.serve import replayed, soak
from bench.serve.size import QUICK

pytestmark = pytest.mark.timeout(300)


@pytest.mark.long
async def test_answers_of_a_mixed_batch_come_again():
    rows = await replayed.measure(replace(QUICK, replayed=6))
    assert {row["kind"] for row in rows} == {"base", "adapter"}
    found = replayed.figures(rows)
    assert (found["replay_answers"], found["replay_match"]) == (6, 1.0)


@pytest.mark.long
async def test_nothing_is_left_after_a_short_soak():
    rows = await soak.measure(replace(QUICK, soak_seconds=3))
    found = soak.figures(rows)
    assert found["soak_answers"] > 10
    assert {key: found[f"soak_{key}"] for key in ("left_over", "leases_open", "charged_wrong", "adapters_over")} == {
        "left_over": 0, "leases_open": 0, "charged_wrong": 0, "adapters_over": 0,
    }  # fmt: skip
    assert next(row for row in rows if row["kind"] == "load")["not_answered"].keys() <= {"LEFT", "QUEUE_FULL"}
