"""`kill -9` of OpenLoRA and of vLLM under it, at random points under load: what was acknowledged is what there is.

Real processes on a tiny model.  People ask without pause, some of them hang up, and each asks the same again until
there is an account of the answer.  `python -m bench serve --part crash` does the same fifty times, on a real model.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from bench.serve.crash import killed
from bench.serve.size import QUICK
from bench.serve.world import world
from tests.needs import needs

KILLS = int(os.environ.get("OPENLEDGER_KILLS", "6"))
SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))

pytestmark = [needs("vllm"), pytest.mark.slow, pytest.mark.timeout(1800)]


async def test_kill_9_of_service_and_engine_loses_nothing_and_doubles_nothing():
    async with world(replace(QUICK, engine="vllm", seed=SEED)) as around:
        row = await killed(around, KILLS)
    print(f"\nOPENLEDGER_SEED={SEED}: {row}")
    assert sum(row["victims"].values()) == KILLS
    assert row["victims"]["engine"] > 0
    assert row["hung_up"] > 0
    assert (row["lost"], row["doubled"]) == (0, 0)
    assert (row["charged_wrong"], row["leases_open"]) == (0, 0)
