"""A Datanet that is put back from a copy: what was erased after the copy was made stays erased."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from google.longrunning import operations_pb2

from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.tables import CONTENT, ERASURE, KEY
from services.datanet.vault import Sealed, Unopened
from services.datanet.vault_key import open_vault
from tests.copies import Copies
from tests.datanet_records import ACCEPTED, ERASED, get, given, table
from tests.datanet_world import (
    ADA,
    BOB,
    OWNER,
    Factory,
    cut,
    erase,
    give,
    open_datanet,
    read,
    refused,
    serve_factory,
    world,
)
from tests.ledger_world import eventually

TEXTS = ("nobody should find this one again", "this one stays", "the owner was told to destroy this")


@pytest.fixture
def factory() -> Factory:
    return Factory()


@pytest.fixture
async def running(ledger, ledger_at, factory, tmp_path, database_url):
    """Starts the Datanet on what lies there."""
    async with serve_factory(factory, ledger, tmp_path) as where:
        yield lambda: world(tmp_path, ledger, ledger_at, factory=where, database_url=database_url)


@pytest.fixture
def copies(tmp_path, database_url) -> Copies:
    return Copies(tmp_path / "copy", database_url, tmp_path / "datanet" / "shares")


def that_open(here, folder: Path) -> list[str]:
    """Ids of records whose content opens with all that lies there."""
    vault = open_vault(folder / "datanet" / "keys" / "vault.key", here.database, folder / "datanet" / "shares")
    boxes, found = {row.record: row.ciphertext for row in table(here, CONTENT)}, []
    for row in table(here, KEY):
        try:
            vault.open(Sealed(boxes[row.record], row.wrapped), f"record {row.record}".encode())
        except Unopened:
            continue
        found.append(row.record)
    return found


async def erased(client: Client, record: str) -> pb.ErasedRecord:
    """When the operation by which it was erased the first time is at its end."""
    operation = operations_pb2.Operation(name=f"operations/erase-{record.rpartition('/')[2]}")
    return await client.wait("datanet", operation, pb.ErasedRecord, 20)


async def test_an_old_copy_of_database_and_shares_brings_no_erased_record_back(running, copies, factory, tmp_path):
    async with running() as here, here.as_(OWNER) as owner, here.as_(ADA) as ada:
        await open_datanet(owner)
        mine, stays, demanded = await given(here, *TEXTS)
        await cut(owner)
        copies.make()
        await erase(ada, mine)
        await erase(owner, demanded, "a court says so")
        before = {request.record: request for request in factory.told}
        (later,) = await given(here, "given after the copy was made")
    copies.put_back()
    factory.told.clear()
    async with running() as here, here.as_(OWNER) as owner, here.as_(ADA) as ada:
        assert (await erased(ada, mine)).record == mine
        await erased(owner, demanded)
        for name in (mine, demanded):
            seen = await get(ada, name)
            assert (seen.state, dict(seen.fields)) == (ERASED, {})
        assert {request.record: request for request in factory.told} == before, "in the same words, of the same id"
        kept = await get(ada, stays)
        assert (kept.state, kept.fields["text"]) == (ACCEPTED, TEXTS[1])
        assert await asyncio.to_thread(that_open, here, tmp_path) == [stays.rpartition("/")[2]]
        assert [row.record for batch in await read(owner) for row in batch] == [mine, stays, demanded]
        assert (await give(here, BOB, TEXTS[0])).outcomes[0].record, "as text that nobody has given"
        assert (await refused(get(ada, later))).reason == "RECORD_NOT_FOUND"
    factory.told.clear()
    async with running() as here:
        assert all(row.destroyed for row in table(here, ERASURE))
        assert factory.told == [], "what is at its end is not begun anew"
        # As docs/recovery.md says, for a Factory that was put back.
        here.database.write_now(lambda c: c.exec_driver_sql("UPDATE erasure SET revisions = NULL"))
    async with running() as here:
        await eventually(lambda: {request.record: request for request in factory.told} == before)
        await eventually(lambda: all(row.revisions for row in table(here, ERASURE)))


async def test_shares_alone_from_an_old_copy_are_overwritten_again(running, copies, tmp_path):
    shares = tmp_path / "datanet" / "shares"
    async with running() as here, here.as_(OWNER) as owner, here.as_(ADA) as ada:
        await open_datanet(owner)
        mine, _, _ = await given(here, *TEXTS)
        [wrapped] = [row.wrapped for row in table(here, KEY) if mine.endswith(row.record)]
        [ciphertext] = [row.ciphertext for row in table(here, CONTENT) if mine.endswith(row.record)]
        shutil.copytree(shares, tmp_path / "old")
        await erase(ada, mine)
    shutil.rmtree(shares)
    shutil.copytree(tmp_path / "old", shares)
    box, about = Sealed(ciphertext, wrapped), f"record {mine.rpartition('/')[2]}".encode()
    async with running() as here, here.as_(ADA) as ada:
        assert (await erased(ada, mine)).record == mine
        vault = open_vault(tmp_path / "datanet" / "keys" / "vault.key", here.database, shares)
        await eventually(lambda: all(row.destroyed for row in table(here, ERASURE)))
        with pytest.raises(Unopened, match="nobody opens this any more"):
            vault.open(box, about)
    (tmp_path / "datanet" / "erased.jsonl").unlink()
    async with running():
        assert mine in (tmp_path / "datanet" / "erased.jsonl").read_text(), "the list is made anew of the database"
