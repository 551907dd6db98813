"""An answer that this machine cannot measure is given up, and holds up nobody else's for long."""

from __future__ import annotations

import contextlib

import pytest

from openledger import evidence
from services.attribution import score
from services.attribution.tries import MOST
from services.kit.testing import as_service
from tests.attribution_process import process
from tests.attribution_world import attribution, counted, dead_letters, read

DIES = """
import os, signal, sys
from openledger import evidence
from services.attribution import score
measure = evidence.measure
def dying(scorer, trace, *more):
    if trace.response == "responses/r1":
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(scorer, trace, *more)
evidence.measure = dying
from services.attribution.__main__ import main
sys.exit(main())
"""


async def test_an_answer_that_never_fits_into_memory_is_put_aside_and_the_others_go_on(around, monkeypatch):
    measure, tries = evidence.measure, []

    def measured(scorer, trace, *more):
        if trace.response == "responses/r1":
            tries.append(1)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return measure(scorer, trace, *more)

    monkeypatch.setattr(score.evidence, "measure", measured)
    around.peers.add(*map(around.artifacts.trace, (0, 1, 2)))
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 2)
        letters = await dead_letters(around, where, 1)
    assert [entry.receipt.response for entry in entries] == ["responses/r0", "responses/r2"]
    assert letters["r1"].reason == "TOO_LARGE_HERE"
    assert "ran out of memory" in letters["r1"].message
    assert len(tries) == MOST
    assert counted(assembly, "background_failures_total") == {"traces": MOST}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_one_that_ends_the_process_each_time_is_put_aside_in_a_later_life(around, tmp_path):
    """As when the kernel kills it for its memory: nothing in the process can catch that."""
    around.peers.add(*map(around.artifacts.trace, (0, 1, 2)))
    lives = 0
    while lives <= MOST:
        lives += 1
        # It may die before it says that it serves, or after.
        with contextlib.suppress(ValueError):
            async with process(around, tmp_path / "data", "-c", DIES) as (child, where):
                if lives <= MOST:
                    await child.wait()
                    continue
                async with as_service("ledger", attribution=where) as ledger:
                    entries = await read(ledger, 2, seconds=100)
                letters = await dead_letters(around, where, 1)
    assert [entry.receipt.response for entry in entries] == ["responses/r0", "responses/r2"]
    assert letters["r1"].reason == "TOO_LARGE_HERE"
    assert "ended with the whole process" in letters["r1"].message
