"""kill -9 at fifty moments while a contributor's records come in: sent again, none is lost, and none is there twice."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from openledger import giving
from openledger.client import ApiError, Client
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.tables import CONTENT, DECLARATION, FIRST, KEY, RECORD
from services.kit.testing import SECRET
from tests.datanet_world import ADA, DATANET, LICENCE, OWNER, Ledger, open_datanet, serve_ledger, world

KILLS, PART, LONGEST = 50, 20, 0.8
INTO = pb.Datanet(name=DATANET, licence=LICENCE)


@asynccontextmanager
async def service(folder: Path, ledger_at: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    settings = {"DATA_DIR": folder / "datanet", "ARTIFACTS_DIR": folder / "artifacts", "SERVICE_SECRET": SECRET}
    environment = {f"OPENLEDGER_DATANET_{k}": str(v) for k, v in (settings | {"LEDGER": ledger_at}).items()}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.datanet"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert child.stdout is not None
    try:
        line = json.loads(await asyncio.wait_for(child.stdout.readline(), 60))
        yield child, f"127.0.0.1:{line['port']}"
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


def part(number: int) -> list[pb.ParsedRecord]:
    """The last record of each says what the first of the one before says."""
    texts = [f"text {index} of part {number}, {'x' * index * 9}" for index in range(PART - 1)]
    texts.append(f"text 0 of part {max(number - 1, 0)}, ")
    return [pb.ParsedRecord(index=index, fields={"text": text}) for index, text in enumerate(texts)]


async def give(client: Client, numbers: itertools.count[int], answers: dict[int, pb.ContributeRecordsResponse]) -> None:
    """Parts one after the other, from the first that is not answered; endless, unless the service dies."""
    for number in numbers:
        if number not in answers:
            answers[number] = await giving.sent(client, ADA, INTO, part(number))


@pytest.mark.timeout(400)
async def test_fifty_kills_lose_nothing_and_double_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(giving, "_TRIES", 1)  # the next one listens elsewhere
    ledger, chance = Ledger(), random.Random(50)
    answers: dict[int, pb.ContributeRecordsResponse] = {}
    cut_off = 0
    async with serve_ledger(ledger, tmp_path) as ledger_at:
        async with world(tmp_path, ledger, ledger_at) as here, here.as_(OWNER) as owner:
            await open_datanet(owner)
        for _ in range(KILLS):
            before = len(answers)
            async with service(tmp_path, ledger_at) as (child, where), ledger.issuer.client(ADA, datanet=where) as ada:
                upload = asyncio.create_task(give(ada, itertools.count(), answers))
                await asyncio.sleep(chance.uniform(0, LONGEST))
                assert not upload.done()
                child.send_signal(signal.SIGKILL)
                upload.cancel()  # it would look for the service for seconds
                with suppress(asyncio.CancelledError, ApiError):
                    await upload
            cut_off += len(answers) > before
        assert cut_off > KILLS // 5, "the kills came too early to cut anything off"
        async with world(tmp_path, ledger, ledger_at) as here, here.as_(ADA) as ada:
            broken = max(answers) + 1
            answers[broken] = await giving.sent(ada, ADA, INTO, part(broken))
            for number, answer in answers.items():
                assert await giving.sent(ada, ADA, INTO, part(number)) == answer
            await check(here, ada, answers)


async def check(here, ada: Client, answers: dict[int, pb.ContributeRecordsResponse]) -> None:
    assert sorted(answers) == list(range(len(answers)))
    accepted = {o.record for answer in answers.values() for o in answer.outcomes if o.record}
    rejected = Counter(o.reason for answer in answers.values() for o in answer.outcomes if not o.record)
    assert rejected == {"DUPLICATE": len(answers)}
    assert len(accepted) == len(answers) * (PART - 1)
    found: list[pb.Record] = []
    token = ""
    while True:
        request = pb.ListRecordsRequest(parent=DATANET, page_size=1000, page_token=token)
        page = await ada.call(ada.datanet.ListRecords, request)
        found += page.records
        token = page.next_page_token
        if not token:
            break
    assert {record.name for record in found} == accepted
    given = Counter(d.fields["text"] for number in answers for d in part(number)[:-1])
    assert Counter(record.fields["text"] for record in found) == given
    assert set(given.values()) == {1}
    for table in (RECORD, CONTENT, KEY, FIRST):
        assert len(here.database.read_now(lambda c, t=table: c.execute(select(t)).all())) == len(accepted), table.name
    assert len(here.database.read_now(lambda c: c.execute(select(DECLARATION)).all())) == len(answers)
    datanet = await ada.call(ada.datanet.GetDatanet, pb.GetDatanetRequest(name=DATANET))
    assert (datanet.record_count, datanet.contributor_count) == (len(accepted), 1)
