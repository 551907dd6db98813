"""Erased records on disk: nothing is left that opens, whenever the service is killed meanwhile."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from openledger import merkle, names, records
from openledger.client import ApiError
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.tables import CONTENT, DECLARATION, FIRST, KEY, LIKENESS, POSTING
from services.datanet.vault import Sealed, Unopened
from services.datanet.vault_key import open_vault
from tests.datanet_process import process
from tests.datanet_records import ERASED, get, given, included, table
from tests.datanet_world import (
    ADA,
    OWNER,
    begin_erasing,
    cut,
    erase,
    listed,
    new_id,
    open_datanet,
    withdraw,
    world,
)

MARKED = "a marked text that nobody should find, größer than others"


WHY = "it names somebody whom nobody should find"


def everything(*folders: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for folder in folders for file in folder.rglob("*") if file.is_file()}


def found(hidden: dict[str, bytes], *folders: Path) -> list[tuple[str, str]]:
    return [
        (name, file) for file, data in everything(*folders).items() for name, part in hidden.items() if part in data
    ]


async def test_nothing_of_an_erased_record_is_in_any_file_write_ahead_log_included(ledger, ledger_at, tmp_path):
    async with world(tmp_path, ledger, ledger_at) as here, here.as_(OWNER) as owner, here.as_(ADA) as ada:
        await open_datanet(owner)
        texts = [f"text {number}, {'x' * (number % 700)}" for number in range(300)]
        made = await given(here, *texts[:150], MARKED, *texts[150:])
        await cut(owner)
        name = made[150]
        key = names.match("datanets/*/records/*", name)[1]
        salt = (await included(ada, name)).salt
        ciphertext = {row.record: row.ciphertext for row in table(here, CONTENT)}[key]
        wrapped = {row.record: row.wrapped for row in table(here, KEY)}[key]
        token = next(row.fingerprint for row in table(here, FIRST) if row.record == name)
        (box,) = (row.box for row in table(here, LIKENESS) if row.record == key)
        (declared,) = table(here, DECLARATION)
        share = await asyncio.to_thread(_share, tmp_path, wrapped)
        hidden = {
            "text": MARKED.encode(), "salt": salt, "ciphertext": ciphertext[:64], "end": ciphertext[-64:],
            "wrapped key": wrapped, "share": share, "token": token, "root": declared.content_root,
            "signature": declared.signature, "fingerprint": records.fingerprint({"text": MARKED}), "sketch": box,
        }  # fmt: skip
        kept = {"ciphertext", "wrapped key", "share", "token", "root", "sketch"}
        assert {what for what, _ in found(hidden, tmp_path)} >= kept
        (number,) = (row.number for row in table(here, LIKENESS) if row.record == key)
        assert {row.number for row in table(here, POSTING)} >= {number}
        await withdraw(ada, name, WHY)
        assert {what for what, _ in found({"why": WHY.encode()}, tmp_path)} == {"why"}
        await erase(ada, name)
        hidden["why it was withdrawn"] = WHY.encode()
        assert found(hidden, tmp_path) == []
        (left,) = (row for row in table(here, LIKENESS) if row.number == number)
        assert (left.features, left.box) == (b"", b"")
        assert number not in {row.number for row in table(here, POSTING)}
        assert len(await listed(here, ADA, page_size=1000)) == 301
    assert found(hidden, tmp_path) == []


@pytest.mark.needs("postgresql")
async def test_what_postgresql_keeps_of_an_erased_record_opens_for_nobody(
    ledger, ledger_at, tmp_path, postgres_cluster
):
    from tests import postgres

    data = Path(postgres_cluster.rpartition("host=")[2]) / "data"
    with postgres.fresh_database(postgres_cluster) as url:
        async with world(tmp_path, ledger, ledger_at, database_url=url) as here, here.as_(ADA) as ada:
            async with here.as_(OWNER) as owner:
                await open_datanet(owner)
            name, other = await given(here, MARKED, "another")
            key = names.match("datanets/*/records/*", name)[1]
            box = Sealed(
                next(row.ciphertext for row in table(here, CONTENT) if row.record == key),
                next(row.wrapped for row in table(here, KEY) if row.record == key),
            )
            share, about = await asyncio.to_thread(_share, tmp_path, box.wrapped), f"record {key}".encode()
            vault = _vault(tmp_path, here)
            salt = vault.open(box, about)[1:33]
            (like,) = (row for row in table(here, LIKENESS) if row.record == key)
            await erase(ada, name)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
            assert found({"ciphertext": box.ciphertext}, data) != [], "PostgreSQL keeps what was deleted"
            assert found({"text": MARKED.encode(), "salt": salt, "share": share}, data, tmp_path) == []
            with pytest.raises(Unopened, match="nobody opens this any more"):
                vault.open(box, about)
            with pytest.raises(Unopened, match="nobody opens this any more"):
                vault.open_beside(box.wrapped, like.box, about)
            (left,) = (row for row in table(here, LIKENESS) if row.record == key)
            assert (left.features, left.box) == (b"", b"")
            assert like.number not in {row.number for row in table(here, POSTING)}
            assert (await get(ada, other)).fields["text"] == "another"


def _share(folder: Path, wrapped: bytes) -> bytes:
    from services.datanet.shares import Shares
    from services.datanet.vault import place

    return Shares(folder / "datanet" / "shares").get(place(wrapped))


def _vault(folder: Path, here):
    return open_vault(folder / "datanet" / "keys" / "vault.key", here.database, folder / "datanet" / "shares")


# --- kill -9 ----------------------------------------------------------------------------------------------------------

POINTS = (
    "store_erasures.begin:after",
    "erasing.Eraser._destroy:before",
    "store_erasures.destroyed:before",
    "store_erasures.destroyed:after",
    "trainers.NoTrainers.tell:before",
    "store_erasures.told:before",
    "store_erasures.told:after",
)


@pytest.mark.parametrize("point", POINTS)
async def test_kill_9_at_any_step_of_an_erasure_is_gone_on_from(ledger, ledger_at, tmp_path, point):
    async with world(tmp_path, ledger, ledger_at) as here, here.as_(OWNER) as owner:
        await open_datanet(owner)
        name, other = await given(here, MARKED, MARKED.replace("marked", "other"))
        snapshot = await cut(owner)
        key = names.match("datanets/*/records/*", name)[1]
        wrapped = {row.record: row.wrapped for row in table(here, KEY)}[key]
        ciphertext = {row.record: row.ciphertext for row in table(here, CONTENT)}[key]
        hidden = {"text": MARKED.encode(), "wrapped key": wrapped, "ciphertext": ciphertext}
        hidden["share"] = _share(tmp_path, wrapped)
    request = new_id()
    async with process(tmp_path, ledger_at, point) as (child, where), ledger.issuer.client(ADA, datanet=where) as ada:
        with suppress(ApiError):
            await ada.wait("datanet", await begin_erasing(ada, name, request_id=request), pb.ErasedRecord, 10)
        assert await asyncio.wait_for(child.wait(), 20) == -signal.SIGKILL
    async with process(tmp_path, ledger_at) as (_, where), ledger.issuer.client(ADA, datanet=where) as ada:
        operation = await begin_erasing(ada, name, request_id=request)
        done = await ada.wait("datanet", operation, pb.ErasedRecord, 20)
        assert done.record == name
        assert (await get(ada, name)).state == ERASED
        assert (await get(ada, other)).fields["text"].startswith("a other")
        proof = await included(ada, name)
        assert merkle.verify_inclusion(proof.commitment, proof.leaf, proof.size, proof.path, snapshot.root)
        assert found(hidden, tmp_path) == []
