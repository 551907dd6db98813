"""An Attribution that is put back from a copy: the receipts that it makes again are the ones that it had made."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing

import pytest
from sqlalchemy import select

from services.attribution.store import METADATA
from services.kit.database import Database
from services.kit.testing import as_service
from tests.attribution_world import attribution, read
from tests.copies import Copies

KEY = METADATA.tables["payer_key"]


@asynccontextmanager
async def running(around, database_url: str):
    """Gives the client of its reader."""
    serving = attribution(around, database_url=database_url)
    async with serving as (where, _), as_service("ledger", attribution=where) as ledger:
        yield ledger


@pytest.mark.parametrize("published", (True, False))
async def test_traces_are_read_again_from_where_the_copy_was_and_give_the_same_receipts(
    around, database_url, published
):
    copies = Copies(around.folder / "copy", database_url)
    traces = [around.artifacts.salted(number, published=published) for number in range(1, 6)]
    around.peers.add(*traces[:2])
    async with (
        attribution(around, database_url=database_url) as (where, _),
        as_service("ledger", attribution=where) as ledger,
    ):
        await read(ledger, 2)
        await asyncio.to_thread(copies.make)
        around.peers.add(*traces[2:])
        before = [entry.receipt.document for entry in await read(ledger, 5)]
    await asyncio.to_thread(copies.put_back)
    await asyncio.sleep(1.1)  # a receipt that had the time of its making in it would be another one
    async with (
        attribution(around, database_url=database_url) as (where, _),
        as_service("ledger", attribution=where) as ledger,
    ):
        entries = await read(ledger, 5)
    assert [entry.receipt.document for entry in entries] == before


async def test_a_payers_key_that_was_taken_back_is_destroyed_before_it_serves_again(around, database_url):
    around.peers.add(around.artifacts.salted(1, published=False))
    async with running(around, database_url) as ledger:
        await read(ledger, 1)
    with closing(Database(database_url)) as database:
        (name,) = database.read_now(lambda c: c.execute(select(KEY.c.name)).scalars().all())
        around.config().forgotten.write_text(f"{name}\n")
        async with running(around, database_url) as ledger:
            assert database.read_now(lambda c: c.execute(select(KEY)).all()) == []
            assert len(await read(ledger, 1)) == 1, "receipts stand"
