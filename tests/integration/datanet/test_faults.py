"""The Datanet over real gRPC: many at once, broken streams, restarts, a full disk, kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from openledger.client import Wallet
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import store
from services.datanet.model import Policy
from services.datanet.upload import Upload
from services.kit.testing import SECRET
from tests.datanet_world import (
    ADA,
    BOB,
    OWNER,
    SNAPSHOT,
    begin_snapshot,
    cut,
    give,
    give_badly,
    listed,
    new_id,
    open_datanet,
    phase,
    refused,
    send,
    upload,
    world,
)

ACCEPTED, REJECTED = pb.RECORD_STATE_ACCEPTED, pb.RECORD_STATE_REJECTED


async def test_eight_who_race_for_the_same_records_and_each_has_one_owner(ledger, ledger_at, tmp_path, database_url):
    racers = [Wallet("0x" + f"{i:02x}" * 32) for i in range(1, 9)]
    texts = [f"text {i}" for i in range(40)]
    async with world(tmp_path, ledger, ledger_at, database_url=database_url) as here:
        async with here.as_(OWNER) as owner:
            await open_datanet(owner)
        orders = [texts[i * 5 :] + texts[: i * 5] for i in range(8)]
        answers = await asyncio.gather(*(give(here, w, *o) for w, o in zip(racers, orders, strict=True)))
        async with here.as_(OWNER) as owner:
            rows = await listed(here, OWNER, page_size=100)
            snapshot = await cut(owner)
    assert sorted(row.fields["text"] for row in rows) == sorted(texts)
    owners = {row.name: row.contributor for row in rows}
    for wallet, order, answer in zip(racers, orders, answers, strict=True):
        for text, outcome in zip(order, answer.outcomes, strict=True):
            if outcome.state == ACCEPTED:
                assert owners[outcome.record] == wallet.account
            else:
                assert outcome.reason == "DUPLICATE"
                named = next(row for row in rows if row.name in outcome.message)
                assert (named.fields["text"], named.contributor == wallet.account) == (text, False)
    assert sum(answer.accepted for answer in answers) == snapshot.record_count == 40


async def test_the_same_upload_from_eight_connections_is_taken_once(ledger, ledger_at, tmp_path, database_url):
    async with world(tmp_path, ledger, ledger_at, database_url=database_url) as here:
        async with here.as_(OWNER) as owner:
            await open_datanet(owner)
        one = new_id()
        answers = await asyncio.gather(*(give(here, ADA, "one", "two", request_id=one) for _ in range(8)))
        assert all(answer == answers[0] for answer in answers)
        assert answers[0].accepted == 2
        assert len(await listed(here, ADA)) == 2


async def test_a_stream_that_breaks_leaves_nothing_and_is_sent_again(here):
    messages, half_way = upload(ADA, [f"text {i}" for i in range(50)]), asyncio.Event()

    async def breaks() -> AsyncIterator[Any]:
        for message in messages[:25]:
            yield message
        half_way.set()
        await asyncio.sleep(60)

    async with here.as_(ADA) as client:
        broken = asyncio.create_task(client.call(client.datanet.ContributeRecords, breaks()))
        await half_way.wait()
        broken.cancel()
        await asyncio.gather(broken, return_exceptions=True)
    assert await listed(here, ADA) == []
    async with here.as_(ADA) as client:
        assert (await send(client, messages)).accepted == 50


async def test_an_upload_is_judged_by_the_rules_that_hold_when_it_is_taken(here, monkeypatch):
    close = Upload.close

    def close_late(self: Upload) -> None:
        stricter = replace(self._datanet.definition, policy=Policy(min_chars=5))
        here.database.write_now(lambda c: store.redefine(c, "terms", stricter, 1))
        close(self)

    monkeypatch.setattr(Upload, "close", close_late)
    messages = upload(ADA, ["one", "two"])
    error = await give_badly(here, ADA, messages)
    assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, "DATANET_CHANGED")
    assert await listed(here, ADA) == []
    async with here.as_(ADA) as ada:
        again = await send(ada, messages)
    assert [outcome.reason for outcome in again.outcomes] == ["TEXT_TOO_SHORT"] * 2


async def test_snapshots_need_something_new_and_their_owner(here):
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada:
        assert (await refused(begin_snapshot(owner))).reason == "EMPTY_SNAPSHOT"
        await give(here, ADA, "one")
        assert (await refused(begin_snapshot(ada))).reason == "NOT_YOURS"
        one = new_id()
        operations = await asyncio.gather(*(begin_snapshot(owner, one) for _ in range(4)))
        assert all(operation == operations[0] for operation in operations)
        again = await refused(begin_snapshot(owner))
        assert (again.reason, again.metadata) == ("NOTHING_NEW", {"snapshot": SNAPSHOT})
        request = pb.GetSnapshotRequest(name="datanets/terms/snapshots/01")
        assert (await refused(owner.call(owner.datanet.GetSnapshot, request))).reason == "SNAPSHOT_NOT_FOUND"


async def test_a_snapshot_waits_for_a_ledger_that_is_away(here, ledger):
    ledger.away = True
    await give(here, ADA, "one")
    async with here.as_(OWNER) as owner:
        operation = await begin_snapshot(owner)
        await phase(owner, here.where, operation.name, "waiting for the ledger: CHAIN_AWAY")
        snapshot = await owner.call(owner.datanet.GetSnapshot, pb.GetSnapshotRequest(name=SNAPSHOT))
        assert (snapshot.record_count, snapshot.HasField("anchor")) == (1, False)
        ledger.away = False
        done = await owner.wait("datanet", operation, pb.Snapshot, 20)
        await phase(owner, here.where, operation.name, "anchored")
    assert (done.root, done.anchor.chain_id) == (snapshot.root, 31337)


async def test_an_anchoring_refused_for_good_is_tried_as_a_new_request(here, ledger):
    ledger.refuses = 2
    await give(here, ADA, "one")
    async with here.as_(OWNER) as owner:
        assert (await cut(owner)).anchor.chain_id == 31337
    assert len(ledger.seen) == len({request.request_id for request in ledger.seen}) == 3


async def test_a_restart_in_the_middle_of_anchoring_asks_the_same_again(ledger, ledger_at, tmp_path):
    ledger.slow = True
    async with world(tmp_path, ledger, ledger_at) as here, here.as_(OWNER) as owner:
        await open_datanet(owner)
        await give(here, ADA, "one")
        operation = await begin_snapshot(owner)
        while not ledger.seen:
            await asyncio.sleep(0.01)
    ledger.slow = False
    async with world(tmp_path, ledger, ledger_at) as here, here.as_(OWNER) as owner:
        snapshot = await owner.wait("datanet", operation, pb.Snapshot, 20)
    assert snapshot.anchor.block == 9
    assert len({request.request_id for request in ledger.seen}) == 1
    assert len(ledger.seen) >= 2


async def test_a_full_disk_is_said_and_nothing_is_half_taken(here):
    first = await give(here, ADA, "one")

    def limit(pages: int) -> None:
        here.database.write_now(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").all())

    used = here.database.write_now(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    limit(used + 10)
    large = upload(BOB, [f"{i} " + "x" * 1500 for i in range(100)])
    error = await give_badly(here, BOB, large)
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL")
    assert error.retry_after == 30
    assert [record.name for record in await listed(here, ADA)] == [first.outcomes[0].record]
    limit(2**30)
    async with here.as_(BOB) as bob:
        assert (await send(bob, large)).accepted == 100
    async with here.as_(OWNER) as owner:
        assert (await cut(owner)).record_count == 101


@asynccontextmanager
async def process(folder: Path, ledger_at: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m services.datanet`, configured by its environment alone."""
    settings = {"DATA_DIR": folder, "ARTIFACTS_DIR": folder, "SERVICE_SECRET": SECRET, "LEDGER": ledger_at}
    environment = {f"OPENLEDGER_DATANET_{key}": str(value) for key, value in settings.items()}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.datanet",
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert child.stdout is not None
    try:
        line = json.loads(await asyncio.wait_for(child.stdout.readline(), 30))
        yield child, f"127.0.0.1:{line['port']}"
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        await child.wait()


async def test_kill_9_loses_nothing_that_was_answered_and_takes_nothing_by_half(ledger, ledger_at, tmp_path):
    ledger.slow = True
    messages, one = upload(BOB, [f"text {i}" for i in range(30)]), new_id()
    async with (
        process(tmp_path, ledger_at) as (child, where),
        ledger.issuer.client(OWNER, datanet=where) as owner,
        ledger.issuer.client(BOB, datanet=where) as bob,
    ):
        await open_datanet(owner)
        first = await send(owner, upload(OWNER, ["one"], one))
        operation = await begin_snapshot(owner)
        while not ledger.seen:
            await asyncio.sleep(0.01)
        sent = asyncio.Event()

        async def stream() -> AsyncIterator[Any]:
            for message in messages[:20]:
                yield message
            sent.set()
            await asyncio.sleep(60)

        broken = asyncio.create_task(bob.call(bob.datanet.ContributeRecords, stream()))
        await sent.wait()
        child.kill()
        assert (await refused(broken)).code is grpc.StatusCode.UNAVAILABLE
    ledger.slow = False
    async with process(tmp_path, ledger_at) as (child, where):
        async with ledger.issuer.client(OWNER, datanet=where) as owner, ledger.issuer.client(BOB, datanet=where) as bob:
            snapshot = await owner.wait("datanet", operation, pb.Snapshot, 20)
            assert (snapshot.record_count, snapshot.anchor.block) == (1, 9)
            assert await send(owner, upload(OWNER, ["one"], one)) == first
            assert (await send(bob, messages)).accepted == 30
        child.send_signal(signal.SIGTERM)
        assert await child.wait() == 0
    assert len({request.request_id for request in ledger.seen}) == 1


async def test_a_process_without_a_ledger_says_what_is_missing(tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENLEDGER_DATANET_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.datanet", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await child.communicate()
    assert child.returncode == 2
    assert b"OPENLEDGER_DATANET_LEDGER" in errors
    assert b"Traceback" not in errors
