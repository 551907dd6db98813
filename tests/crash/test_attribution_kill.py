"""`kill -9` of Attribution at 50 random points of its life: each trace has exactly one receipt, or one dead letter.

A real process, from its first import to whatever it is doing a moment after it serves, while traces keep coming, some
of them twice and some that cannot be attributed.  `tests/crash/test_kill.py` kills it among the other services.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from pathlib import Path

import pytest

from openledger import receipt as receipts
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.trace import Trace
from services.kit.testing import as_service
from tests.attribution_process import process
from tests.attribution_world import Artifacts, World, dead_letters, read, world
from tests.published import published_receipts

KILLS = int(os.environ.get("OPENLEDGER_KILLS", "50"))
SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))
A_LIFE = 4
"""Traces that come in while it lives."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
async def around(tmp_path):
    async with world(tmp_path / "world", Artifacts.make(tmp_path / "made")) as everything:
        yield everything


async def seen(where: str) -> dict[int, str]:
    """SHA-256 of every receipt by its offset."""
    async with as_service("ledger", attribution=where) as ledger:
        reply = await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest(max_entries=1000))
    return {entry.offset: entry.receipt.sha256 for entry in reply.entries}


def more(artifacts: Artifacts, draw: random.Random, sent: list[Trace]) -> list[Trace]:
    """What comes in next: new traces, one in eight without an answer, and now and then one that was sent before."""
    fresh = []
    for number in range(len(sent), len(sent) + A_LIFE):
        changes = {"completion_token_ids": ()} if draw.random() < 1 / 8 else {}
        fresh.append(artifacts.trace(number, **changes))
    sent += fresh
    return [*fresh, draw.choice(sent)] if draw.random() < 1 / 4 else fresh


async def test_each_trace_has_exactly_one_receipt_wherever_it_was_killed(around, tmp_path):
    draw, data, sent, shown = random.Random(SEED), tmp_path / "data", [], {}
    start = time.monotonic()
    async with process(around, data):
        ready = time.monotonic() - start
    served = 0
    for _ in range(KILLS):
        around.peers.add(*more(around.artifacts, draw, sent))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(draw.uniform(0.2, 1.0) * (ready + 2.0)):
                async with process(around, data) as (_, where):  # killed on leaving
                    served += 1
                    while True:
                        found = await seen(where)
                        assert shown.items() <= found.items(), "a receipt that somebody saw is gone, or another one"
                        shown = found
                        await asyncio.sleep(0.05)
    assert 0 < served < KILLS or KILLS < 5, "some of the kills hit it while it starts, and some while it serves"
    await check(around, data, sent, shown)


async def check(around: World, data: Path, sent: list[Trace], shown: dict[int, str]) -> None:
    good = {trace.response: trace for trace in sent if trace.completion_token_ids}
    bad = {trace.response for trace in sent} - good.keys()
    async with process(around, data) as (_, where), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, len(good), seconds=300)
        letters = await dead_letters(around, where, len(bad))
        await asyncio.sleep(1)
        assert len(await seen(where)) == len(entries), "nothing comes after the last one"
    documents = {entry.receipt.response: receipts.parse(entry.receipt.document) for entry in entries}
    assert [entry.offset for entry in entries] == list(range(1, len(entries) + 1))
    assert len(documents) == len(entries), "a response has two receipts"
    assert {name: document.trace_sha256 for name, document in documents.items()} == {
        name: trace.digest() for name, trace in good.items()
    }
    assert {f"responses/{key}" for key in letters} == bad
    assert shown.items() <= {entry.offset: entry.receipt.sha256 for entry in entries}.items()
    there = published_receipts(around.artifacts.store)
    assert there == {entry.receipt.response: [entry.receipt.sha256] for entry in entries}, "published twice, or never"
    assert sum(document.fee for document in documents.values()) == sum(trace.fee for trace in good.values())
