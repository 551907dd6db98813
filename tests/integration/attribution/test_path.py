"""Attribution over real gRPC: traces in, signed receipts out, each once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from eth_account import Account

from openledger import receipt as receipts
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.trace import unix_seconds
from openledger.verify import verify_receipt
from services.kit.testing import as_service
from tests.attribution_world import (
    PAYER,
    PLATFORM,
    RULE,
    attribution,
    dead_letters,
    read,
)
from tests.published import OWNER


async def test_traces_become_receipts_that_a_stranger_can_verify(around):
    artifacts = around.artifacts
    traces = artifacts.salted(1, published=True), artifacts.salted(2, published=True, adapter="")
    around.peers.add(*traces)
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 2)
        key = (around.folder / "attribution" / "signing.key").read_text().strip()
    signer = Account.from_key(key).address.lower()
    for entry, trace in zip(entries, traces, strict=True):
        report = verify_receipt(entry.receipt.document, artifacts.store, artifacts.adapter.base, signer)
        assert report.ok, report.failed
        assert artifacts.store.get(entry.receipt.sha256) == entry.receipt.document
        assert entry.receipt.name == trace.response.replace("responses", "receipts")
        assert {key: int(amount) for key, amount in entry.receipt.shares.items()} == report.receipt.shares
        assert int(entry.receipt.fee) == trace.fee == sum(report.receipt.shares.values())
        assert (report.receipt.rule, report.receipt.platform) == (RULE, PLATFORM)
        assert entry.receipt.create_time.seconds > 1_700_000_000
    of_adapter, of_base = (receipts.parse(entry.receipt.document) for entry in entries)
    assert of_adapter.method == "shadow-trajectories.v1"
    assert of_adapter.developer == OWNER
    assert of_adapter.evidence.scores.keys() == set(artifacts.adapter.contributors)
    assert of_base.method == "base.v1"
    assert (of_base.developer, of_base.model.index_root) == ("", "")
    assert of_base.shares.keys() == {"base", "developer", "stakers", "platform"}


async def test_a_receipt_waits_for_no_other_trace(around):
    around.peers.add(*(around.artifacts.trace(number) for number in range(1, 4)))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        await read(ledger, 3)
    assert {0, 1, 2} <= set(around.peers.reads), "several traces were taken before the first had its receipt"


async def test_a_restart_in_the_middle_loses_and_doubles_nothing(around):
    traces = [around.artifacts.trace(number) for number in range(1, 8)]
    around.peers.add(*traces[:4])
    async with attribution(around, traces_per_batch=1) as (where, _), as_service("ledger", attribution=where) as ledger:
        first = await read(ledger, 2)
    around.peers.add(*traces[4:])
    async with attribution(around, traces_per_batch=3) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 7)
        await asyncio.sleep(0.2)
        assert len(await read(ledger, 7)) == 7
    assert [e.offset for e in entries] == list(range(1, 8))
    assert [e.receipt.response for e in entries] == [t.response for t in traces]
    assert [e.receipt.document for e in entries[: len(first)]] == [e.receipt.document for e in first]


async def test_an_answer_of_nothing_but_the_end_and_one_whose_clock_went_back_have_their_receipts(around):
    end = around.artifacts.completion[-1:]
    back = {"start_time": "2031-01-01T00:00:00.000000Z", "end_time": "1999-01-01T00:00:00.000000Z"}
    traces = around.artifacts.trace(1, completion_token_ids=end), around.artifacts.trace(2, **back)
    around.peers.add(*traces)
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 2)
    store, base = around.artifacts.store, around.artifacts.adapter.base
    for entry, trace in zip(entries, traces, strict=True):
        report = verify_receipt(entry.receipt.document, store, base, trace=trace.dumps())
        assert report.ok, report.failed


async def test_a_registered_revisions_answers_are_split_by_what_held_when_they_ended(around):
    artifacts, before = around.artifacts, "2026-01-02T03:04:05.999999Z"
    traces = artifacts.trace(1, end_time=before), artifacts.trace(2), artifacts.trace(3, adapter="")
    around.peers.registered = (unix_seconds(traces[1].end_time), 4000, 500)
    around.peers.add(*traces)
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 3)
    found = [receipts.parse(entry.receipt.document) for entry in entries]
    assert [one.end_time for one in found] == [trace.end_time for trace in traces]
    assert [one.rule for one in found] == [RULE, replace(RULE, developer_bps=4000, stakers_bps=500), RULE]
    for one, trace in zip(found, traces, strict=True):
        report = verify_receipt(one.dumps(), artifacts.store, artifacts.adapter.base, trace=trace.dumps())
        assert report.ok, report.failed
    later = receipts.sign(replace(found[0], end_time="2026-01-02T03:04:07.000000Z"), "0x" + "11" * 32)
    report = verify_receipt(later.dumps(), artifacts.store, artifacts.adapter.base, trace=traces[0].dumps())
    assert [check.name for check in report.failed] == ["agreement"]


async def test_a_retired_models_answers_have_their_receipts(around):
    """Deprecated or with an erased record, it was asked and did answer: who shaped that is owed."""
    revision, index = around.artifacts.with_spans()
    around.peers.private[revision] = index
    around.peers.flagged.add(revision)
    around.peers.add(around.artifacts.trace(1, adapter=revision))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        (entry,) = await read(ledger, 1)
    assert set(around.artifacts.adapter.contributors) & set(entry.receipt.shares)


async def test_a_trace_that_comes_twice_has_one_receipt_and_another_one_of_its_name_has_none(around):
    trace = around.artifacts.trace(1)
    forged = replace(trace, fee=trace.fee * 2)
    around.peers.add(trace, trace, around.artifacts.trace(2), trace, forged, around.artifacts.trace(3))
    async with attribution(around, traces_per_batch=3) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 3)
        letters = await dead_letters(around, where, 1)
    assert [e.receipt.response for e in entries] == ["responses/r1", "responses/r2", "responses/r3"]
    assert receipts.parse(entries[0].receipt.document).trace_sha256 == trace.digest()
    assert letters["r1"].reason == "CONFLICTING_TRACE"
    assert letters["r1"].trace_sha256 == forged.digest()


async def test_the_stream_goes_on_as_receipts_come(around):
    around.peers.add(around.artifacts.trace(1))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        stream = ledger.stream(ledger.attribution.WatchReceipts, pb.WatchReceiptsRequest())
        async with asyncio.timeout(20):
            first = await anext(stream)
            around.peers.add(around.artifacts.trace(2))
            second = await anext(stream)
        await stream.aclose()
    assert [e.offset for e in (*first.entries, *second.entries)] == [1, 2]
    assert first.log_epoch == second.log_epoch != ""


async def test_answers_stay_within_a_messages_size(around):
    around.peers.add(*(around.artifacts.trace(n) for n in range(10, 30)))
    async with (
        attribution(around, max_message_bytes=2**16, traces_per_batch=20) as (where, _),
        as_service("ledger", attribution=where) as ledger,
        around.client(PAYER, where) as payer,
    ):
        entries = await read(ledger, 20)
        reply = await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest(max_entries=100))
        listed = await payer.call(payer.attribution.ListReceipts, pb.ListReceiptsRequest(page_size=100))
    fits = 2**16 // 4 // len(entries[0].receipt.document)
    assert 1 < fits < 20
    assert len(reply.entries) == len(listed.receipts) == fits
    assert reply.high_watermark == 20
    assert listed.next_page_token == str(20 - fits + 1)
