"""Private files on their way from the Factory to Attribution: broken, damaged, too large, late, and killed half way."""

from __future__ import annotations

import asyncio
import signal

import pytest

from openledger.adapters import SPAN_INDEX
from openledger.attribution.v1 import attribution_pb2 as pb
from services.kit.private_files import PrivateFiles
from services.kit.testing import as_service
from tests.attribution_process import process
from tests.attribution_world import PAYER, PIECE, attribution, counted, get, read
from tests.integration.attribution.test_explain import answered, explain, here, revision  # noqa: F401 - a fixture


async def test_a_broken_transfer_goes_on_after_its_last_byte(around, revision):  # noqa: F811
    around.peers.breaks = [2 * PIECE, 4 * PIECE]
    async with answered(around, revision) as (where, assembly, _):
        assert (await explain(around, PAYER, where, wait=0)).spans_state != pb.SPANS_STATE_READY
        async with asyncio.timeout(30):
            while not (await explain(around, PAYER, where)).spans:
                await asyncio.sleep(0.1)
    assert around.peers.offsets == [0, 2 * PIECE, 4 * PIECE]
    [file] = here(around)
    assert file.read_bytes() == around.peers.private[revision]
    assert counted(assembly, "background_failures_total") == {}


async def test_it_is_fetched_once_and_kept_over_a_restart(around, revision):  # noqa: F811
    async with answered(around, revision) as (where, _, _):
        assert (await explain(around, PAYER, where)).spans
    async with attribution(around) as (where, _):
        assert (await explain(around, PAYER, where, wait=0)).spans
    assert around.peers.offsets == [0]


@pytest.mark.parametrize("harm", ("changed", "longer", "empty"))
async def test_a_file_that_is_not_what_was_promised_is_not_taken(around, revision, harm):  # noqa: F811
    index = around.peers.private[revision]
    around.peers.private[revision] = {"changed": index[:-1] + b"\1", "longer": index + b"x", "empty": b""}[harm]
    async with answered(around, revision) as (where, _, _):
        async with asyncio.timeout(30):
            while (told := await explain(around, PAYER, where, wait=0)).spans_state == pb.SPANS_STATE_PENDING:
                await asyncio.sleep(0.05)
    assert (told.spans_state, list(told.spans)) == (pb.SPANS_STATE_UNAVAILABLE, [])
    assert told.shares
    assert here(around) == []


async def test_a_file_that_is_too_large_is_not_taken(around, revision):  # noqa: F811
    around.peers.private[revision] += bytes(2**20)
    async with answered(around, revision, max_private_bytes=2**20) as (where, _, _):
        async with asyncio.timeout(30):
            while (await explain(around, PAYER, where, wait=0)).spans_state == pb.SPANS_STATE_PENDING:
                await asyncio.sleep(0.05)
    assert here(around) == []
    assert len(around.peers.offsets) == 1


async def test_those_used_longest_ago_make_way_and_come_back_when_they_are_asked_for(around, revision):  # noqa: F811
    others = [around.artifacts.with_spans(number) for number in (1, 2)]
    around.peers.private |= dict(others)
    everything = [revision, *(name for name, _ in others)]
    room = 2 * len(around.peers.private[revision]) + PIECE
    kept = PrivateFiles(around.folder / "attribution" / "private")
    around.peers.add(*(around.artifacts.trace(n, adapter=name) for n, name in enumerate(everything[1:], start=2)))
    async with answered(around, revision, max_private_bytes=room) as (where, _, _):
        for number in ("r1", "r2", "r3", "r1"):
            assert (await explain(around, PAYER, where, number)).spans
            assert len(kept.revisions()) <= 2


async def test_a_file_that_was_damaged_here_is_fetched_again(around, revision):  # noqa: F811
    async with answered(around, revision) as (where, _, _):
        assert (await explain(around, PAYER, where)).spans
    [file] = here(around)
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    async with attribution(around) as (where, _):
        assert (await explain(around, PAYER, where)).spans
    assert around.peers.offsets == [0, 0]
    assert file.read_bytes() == around.peers.private[revision]


async def test_a_revision_that_the_factory_does_not_know_any_more_leaves_nothing(around, revision):  # noqa: F811
    async with answered(around, revision) as (where, _, _):
        assert (await explain(around, PAYER, where)).spans
        del around.peers.private[revision]
        async with asyncio.timeout(30):
            while here(around):
                await asyncio.sleep(0.05)
        assert (await explain(around, PAYER, where, wait=0)).spans_state == pb.SPANS_STATE_UNAVAILABLE


async def test_receipts_do_not_wait_for_a_slow_factory(around, revision):  # noqa: F811
    around.peers.pace = 3600.0
    around.peers.add(*(around.artifacts.trace(n, adapter=revision) for n in (2, 3)))
    async with answered(around, revision) as (where, _, _), as_service("ledger", attribution=where) as ledger:
        assert len(await read(ledger, 3)) == 3
        told = await explain(around, PAYER, where, wait=0.3)
    assert told.spans_state == pb.SPANS_STATE_PENDING
    assert told.shares


async def test_an_erased_record_does_not_wait_for_the_end_of_a_transfer(around, revision):  # noqa: F811
    slow, index = around.artifacts.with_spans(1)
    async with answered(around, revision) as (where, _, _):
        assert (await explain(around, PAYER, where)).spans
        around.peers.pace, around.peers.private[slow] = 3600.0, index
        around.peers.add(around.artifacts.trace(2, adapter=slow))
        await get(around, PAYER, where, "r2", wait=20)
        async with asyncio.timeout(30):
            while len(here(around)) < 2:
                await asyncio.sleep(0.05)
            around.peers.flagged |= {revision, slow}
            while here(around):
                await asyncio.sleep(0.05)
        for number in ("r1", "r2"):
            assert (await explain(around, PAYER, where, number, wait=0)).spans_state == pb.SPANS_STATE_ERASED


async def test_without_a_factory_numbers_are_told_and_nothing_is_asked(around, revision):  # noqa: F811
    async with answered(around, revision, factory="") as (where, _, _):
        told = await explain(around, PAYER, where)
    assert told.spans_state == pb.SPANS_STATE_UNAVAILABLE
    assert told.shares
    assert around.peers.offsets == []


async def test_kill_9_while_fetching_loses_no_byte(around, revision):  # noqa: F811
    """`python -m services.attribution`, killed in the middle of a transfer, goes on where it was when it starts."""
    around.peers.add(around.artifacts.trace(1, adapter=revision))
    around.peers.pace = 0.5
    partial = (around.folder / "data" / "private" / revision.rpartition("/")[2]) / f"{SPAN_INDEX}.part"
    environment = {"OPENLEDGER_ATTRIBUTION_FACTORY": around.where}
    async with process(around, around.folder / "data", **environment) as (child, where), asyncio.timeout(90):
        while not (partial.exists() and partial.stat().st_size >= 2 * PIECE):
            await asyncio.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        await child.wait()
    had = partial.stat().st_size
    assert 0 < had < len(around.peers.private[revision])
    around.peers.pace = 0.0
    async with process(around, around.folder / "data", **environment) as (_, where), asyncio.timeout(90):
        while not (await explain(around, PAYER, where)).spans:
            await asyncio.sleep(0.1)
        assert (await get(around, PAYER, where, "r1")).name == "receipts/r1"
    assert around.peers.offsets == [0, had]
    assert partial.with_name(SPAN_INDEX).read_bytes() == around.peers.private[revision]
