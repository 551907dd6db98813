"""Attribution over real gRPC: peers that are away or contradict themselves, a full disk, kill -9."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from openledger import receipt as receipts
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.split import Rule
from services.kit.testing import as_service, served
from tests.attribution_process import process
from tests.attribution_world import (
    PAYER,
    Peers,
    attribution,
    counted,
    get,
    read,
    stumbled,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_trace_log_made_anew_stops_attribution_until_somebody_decides(around):
    around.peers.add(around.artifacts.trace(1))
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        await read(ledger, 1)
        around.peers.epoch = "second"
        around.peers.add(around.artifacts.trace(2))
        await stumbled(assembly)
        around.peers.acknowledged.clear()
        await asyncio.sleep(1)
        assert set(around.peers.acknowledged) == {0}, "a log that nobody has read may let go what is in it"
        assert len((await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())).entries) == 1
        around.peers.epoch = "first"
        assert len(await read(ledger, 2)) == 2
        async with asyncio.timeout(5):
            while max(around.peers.acknowledged) < 2:
                await asyncio.sleep(0.01)


async def test_traces_that_come_out_of_order_wait_until_the_log_is_right_again(around):
    """Taken as they came, the ones in between would be passed over for ever."""
    traces = [around.artifacts.trace(number) for number in range(1, 6)]
    async with (
        attribution(around, traces_per_batch=3) as (where, assembly),
        as_service("ledger", attribution=where) as ledger,
    ):
        around.peers.scramble = True
        around.peers.add(*traces)
        await stumbled(assembly)
        assert len((await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())).entries) == 0
        around.peers.scramble = False
        entries = await read(ledger, len(traces))
    assert [e.receipt.response for e in entries] == [t.response for t in traces]


async def test_traces_that_are_gone_stop_attribution_and_are_not_passed_over(around):
    """As after its own database was replaced by one that is too old."""
    around.peers.add(*(around.artifacts.trace(number) for number in range(1, 4)))
    around.peers.gone = 2
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        await stumbled(assembly)
        assert len((await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())).entries) == 0
        around.peers.gone = 0
        assert len(await read(ledger, 3)) == 3


async def test_terms_that_contradict_themselves_hold_receipts_up_and_nothing_is_lost(around):
    around.peers.rule_sha256 = "0" * 64
    around.peers.add(around.artifacts.trace(1))
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        await stumbled(assembly)
        reply = await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())
        assert len(reply.entries) == 0
        around.peers.rule_sha256, around.peers.rule = "", Rule(0, 0, 0)
        (entry,) = await read(ledger, 1)
    assert receipts.parse(entry.receipt.document).rule == Rule(0, 0, 0)


async def test_receipts_wait_for_peers_that_are_away(around, made):
    """OpenLoRA and the ledger come up after Attribution, which serves meanwhile."""
    port, peers = free_port(), Peers()
    peers.add(made.trace(1))
    there = f"127.0.0.1:{port}"
    async with (
        attribution(around, openlora=there, ledger=there) as (where, assembly),
        as_service("ledger", attribution=where) as ledger,
    ):
        await asyncio.sleep(1)
        assert len((await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())).entries) == 0
        async with served(peers.assembly(around.folder, there)):
            assert len(await read(ledger, 1)) == 1
    assert counted(assembly, "background_failures_total") == {}  # it is nobody's fault, and said in one line


@pytest.mark.parametrize("what", ("database", "artifacts"))
async def test_on_a_full_disk_traces_wait_and_each_has_its_receipt_once_when_there_is_room(around, disk, what):
    traces = [around.artifacts.trace(number) for number in range(1, 31)]
    around.peers.add(traces[0])
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        (first,) = await read(ledger, 1)
        disk.fill(what)
        around.peers.add(*traces[1:])
        await stumbled(assembly)
        reply = await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest(max_entries=100))
        assert 1 <= len(reply.entries) < len(traces)
        assert 1 <= max(around.peers.acknowledged) <= len(reply.entries), "the log may let go what has no receipt"
        assert reply.entries[0] == first
        assert (await get(around, PAYER, where, "r1")) == first.receipt
        disk.free()
        entries = await read(ledger, len(traces))
    assert [e.offset for e in entries] == list(range(1, len(traces) + 1))
    assert [e.receipt.response for e in entries] == [t.response for t in traces]
    assert entries[: len(reply.entries)] == list(reply.entries)
    assert counted(assembly, "dead_letters_total") == {}


@pytest.mark.long
async def test_kill_9_of_the_real_process_loses_and_doubles_nothing(around, tmp_path):
    """`python -m services.attribution`, configured by its environment, killed while it measures."""
    traces = [around.artifacts.trace(number) for number in range(1, 13)]
    around.peers.add(*traces)
    one_by_one = {"OPENLEDGER_ATTRIBUTION_TRACES_PER_BATCH": "1"}
    async with process(around, tmp_path / "data", **one_by_one) as (child, where):
        async with as_service("ledger", attribution=where) as ledger:
            before = await read(ledger, 3, seconds=60)
        child.send_signal(signal.SIGKILL)
    async with (
        process(around, tmp_path / "data", **one_by_one) as (child, where),
        as_service("ledger", attribution=where) as ledger,
    ):
        entries = await read(ledger, len(traces), seconds=60)
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await child.wait() == 0
    assert [e.receipt.response for e in entries] == [t.response for t in traces]
    assert [e.receipt.sha256 for e in entries[: len(before)]] == [e.receipt.sha256 for e in before]
