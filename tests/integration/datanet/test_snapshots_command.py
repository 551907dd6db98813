"""What is published of snapshots, and what is proven about them, by the command."""

from __future__ import annotations

import json

import mlcroissant
import pyarrow.parquet as pq
import pytest

from openledger import records
from tests.datanet_world import (
    ADA,
    BOB,
    SNAPSHOT,
    give,
)

TEXT = "the quick brown fox jumps over the lazy dog and sleeps in the warm sun"
LIKE = TEXT.replace("lazy", "idle")


async def test_the_command_cuts_lists_proves_and_verifies(command, here, tmp_path, verify):
    names = [outcome.record for outcome in (await give(here, ADA, "one", "two", "three")).outcomes]
    told = await command("snapshot", "terms")
    assert "datanets/terms/snapshots/1  3 records of 1 contributors, CC-BY-4.0" in told
    await give(here, ADA, "four")
    assert json.loads(await command("snapshot", "terms", "--json"))["version"] == "2"
    listed = json.loads(await command("snapshots", "terms", "--json"))["snapshots"]
    assert [snapshot["name"][-1] for snapshot in listed] == ["2", "1"]

    record, snapshot, grew = (tmp_path / name for name in ("record", "snapshot", "grew"))
    assert "openledger verify record" in await command("prove", names[1], "--out", record, by=ADA)
    assert json.loads(record.read_bytes())["snapshot"]["snapshot"] == "datanets/terms/snapshots/2"
    await command("prove", "terms@1", "--out", snapshot, by=BOB)
    await command("consistency", "terms@1", "datanets/terms/snapshots/2", "--out", grew, by=BOB)
    for kind, file in (("record", record), ("snapshot", snapshot), ("consistency", grew)):
        assert "that these roots stand on chain is yours to look" in await verify(kind, file)
        assert json.loads(await verify(kind, file, "--json"))["ok"] is True
        data = file.read_bytes()
        file.write_bytes(data.replace(b'"root":"', b'"root":"f', 1))
        assert "does not hold" in await verify(kind, file, status=1)
        file.write_bytes(data)
    assert "it is an openledger.record-proof.v1" in await verify("snapshot", record, status=1)
    assert "--registry" in await verify("record", record, "--rpc", "http://127.0.0.1:1", status=2)
    chain = ("--rpc", "http://127.0.0.1:1", "--registry", "0x" + "1" * 40)
    assert "This says nothing about it" in await verify("record", record, *chain, status=2)
    assert "This says nothing about it" in await verify("record", tmp_path / "none", status=2)

    await command("prove", names[0], "--at", 1, "--out", record, by=ADA)
    assert json.loads(record.read_bytes())["snapshot"]["snapshot"] == "datanets/terms/snapshots/1"
    assert "NOT_YOURS" in await command("prove", names[0], status=1, by=BOB)
    assert "is not a name" in await command("prove", "nonsense", status=1)


@pytest.mark.parametrize("form", ("parquet", "jsonl", "argilla", "label-studio"))
async def test_an_export_is_the_owners_texts_beside_what_is_published(command, here, tmp_path, verify, form):
    await give(here, ADA, TEXT, "zwei größer")
    await command("snapshot", "terms")
    out = tmp_path / "out"
    told = json.loads(await command("export", "terms@1", out, "--format", form, "--json"))
    assert (told["texts"], told["erased"], told["snapshot"]) == (2, 0, SNAPSHOT)
    (texts,) = (out / "data").iterdir()
    assert form == "parquet" or "größer" in texts.read_text()
    for exported in (out, out / "snapshot"):
        assert "holds it" in await verify("snapshot", exported)
    assert f'"path": "data/{texts.name}"' in (out / "README.md").read_text()
    described = mlcroissant.Dataset(out / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    assert len(list(described.records("records"))) == 2
    if form in ("parquet", "jsonl"):
        said = described.records(texts.name.partition(".")[0])
        assert [row[f"{texts.name.partition('.')[0]}/text"].decode() for row in said] == [TEXT, "zwei größer"]
    if form == "parquet":
        rows = pq.read_table(texts).to_pylist()
        assert [row["text"] for row in rows] == [TEXT, "zwei größer"]
        said = rows[1]["_openledger"]
        body = records.canonical_bytes(ADA.address, {"text": "zwei größer"}, said["source"])
        assert records.commitment(bytes.fromhex(said["salt"]), body).hex() == said["commitment"]
    assert "already" in await command("export", "terms", out, status=2)


async def test_whoever_is_no_owner_exports_what_is_published(command, here, tmp_path, verify):
    await give(here, ADA, TEXT)
    await command("snapshot", "terms")
    assert "NOT_YOURS" in await command("export", "terms", tmp_path / "no", status=1, by=BOB)
    assert not (tmp_path / "no").exists()
    assert list(tmp_path.glob(".no*")) == []
    await command("export", "terms", tmp_path / "yes", "--format", "published", by=BOB)
    assert [file.name for file in (tmp_path / "yes").iterdir()] == ["snapshot"]
    assert "holds it" in await verify("snapshot", tmp_path / "yes" / "snapshot")
