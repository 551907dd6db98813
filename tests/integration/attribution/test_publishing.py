"""Receipts are published once they are committed: of one answer there are never two, and of none that is there none."""

from __future__ import annotations

import asyncio

from openledger import receipt as receipts
from openledger.artifacts import ArtifactStore
from openledger.split import Rule
from services.attribution import store
from services.kit.testing import as_service
from tests.attribution_world import attribution, read, stumbled
from tests.published import published_receipts


async def test_a_receipt_that_was_not_committed_is_not_published(around, monkeypatch):
    """Made again after the rule changed it is another one: the first must not be among the artifacts."""
    commit, fails = store.commit, [True]

    def failing(*given):
        if fails:
            raise RuntimeError("the process dies here, as far as the database knows")
        return commit(*given)

    monkeypatch.setattr(store, "commit", failing)
    around.peers.add(around.artifacts.trace(1))
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        await stumbled(assembly)
        around.peers.rule = Rule(0, 0, 0)
        await asyncio.sleep(0.3)  # until the terms are asked for again
        fails.clear()
        (entry,) = await read(ledger, 1)
    assert receipts.parse(entry.receipt.document).rule == Rule(0, 0, 0)
    assert published_receipts(around.artifacts.store) == {"responses/r1": [entry.receipt.sha256]}


async def test_what_was_committed_and_not_published_is_published_at_the_next_start(around, monkeypatch):
    put, numbers = ArtifactStore.put, range(1, 6)

    def failing(self, data):
        if data.startswith(b'{"developer":') and b'"responses/r3"' in data:
            raise OSError("the process dies here, as far as anybody can see")
        return put(self, data)

    around.peers.add(*map(around.artifacts.trace, numbers))
    with monkeypatch.context() as patched:
        patched.setattr(ArtifactStore, "put", failing)
        async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
            await read(ledger, 3)
            await stumbled(assembly)
    assert set(published_receipts(around.artifacts.store)) == {"responses/r1", "responses/r2"}
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, len(numbers))
        while len(published_receipts(around.artifacts.store)) < len(numbers):
            await asyncio.sleep(0.05)
    there = published_receipts(around.artifacts.store)
    assert there == {entry.receipt.response: [entry.receipt.sha256] for entry in entries}
