"""`openledger datanet export`: a snapshot as a folder: its texts for its owner, and what is published of it.

    README.md, croissant.json     the card, by which `datasets.load_dataset(FOLDER)` finds the texts; metadata
    data/                         the texts, in the format that was asked for
    snapshot/                     the published files, and the proof that the datanet's log holds them

Every record is committed to again while it is read, and the root must be the snapshot's.  The folder is whole or not
there.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from openledger import names, records
from openledger.cli.connection import Json, run
from openledger.cli.datanet.datanets import full_name
from openledger.cli.datanet.proving import snapshot_proof
from openledger.cli.datanet.snapshots import snapshot_name, snapshots_of
from openledger.datanet.v1 import datanet_pb2 as pb
from openledger.snapshots import EXPORTED

if TYPE_CHECKING:
    from openledger.snapshots.documents import Manifest
    from openledger.snapshots.files import Add, Text

Format = Literal["parquet", "jsonl", "argilla", "label-studio", "published"]
DATA = "data"


def export(
    context: typer.Context,
    datanet: Annotated[str, typer.Argument(metavar="DATANET", help="Its id, or <id>@<version>; the newest else.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Is made.")],
    form: Annotated[
        Format, typer.Option("--format", help="Of the texts, which are the owner's; published: without them.")
    ] = "parquet",
    as_json: Json = False,
) -> None:
    """Write a snapshot as a folder that `datasets` loads and `openledger verify snapshot` checks.

    Erased records are not in it.  What is exported, erasing a record does not reach: that is yours to look after.

    Example: openledger datanet export rare-terms@2 rare-terms --format parquet
    """
    if find_spec("pyarrow") is None:
        raise typer.BadParameter("it needs pyarrow: pip install 'openledger[parquet]'")
    if folder.exists():
        raise typer.BadParameter(f"{folder} is there already", param_hint="DIR")
    part = folder.with_name(f".{folder.name}.part")

    async def work() -> dict[str, Any]:
        shutil.rmtree(part, ignore_errors=True)
        try:
            async with context.obj.client() as client:
                name = await _named(client, datanet)
                (part / EXPORTED).mkdir(parents=True)
                told = await _export(client, name, part, form)
            part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return told

    told = run(work) | {"folder": str(folder)}
    if as_json:
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return
    typer.echo(f"{told['snapshot']} is in {folder}: {told['checked']}.")
    if form != "published":
        erased = f"; {told['erased']} of its records are erased" if told["erased"] else ""
        typer.echo(f"{told['texts']} texts are in {folder / DATA}{erased}.")


async def _named(client: Any, text: str) -> str:
    if "@" in text or "/snapshots/" in text:
        return snapshot_name(text)
    async for found in snapshots_of(client, full_name(text)):
        return found.name
    raise ValueError(f"{full_name(text)} has no snapshot yet: `openledger datanet snapshot {text}` cuts one")


async def _export(client: Any, name: str, part: Path, form: Format) -> dict[str, Any]:
    from openledger.snapshots import folder as folders
    from openledger.snapshots.documents import PROOF

    await _published(client, name, part / EXPORTED)
    (part / EXPORTED / PROOF).write_bytes((await snapshot_proof(client, name)).to_bytes())
    words, _ = folders.check(part / EXPORTED)
    told: dict[str, Any] = {"snapshot": name, "checked": words, "texts": 0, "erased": 0}
    if form != "published":
        manifest = folders.read_manifest(part / EXPORTED)
        told |= await _texts(client, manifest, part, form)
    return told


async def _published(client: Any, name: str, folder: Path) -> None:
    from openledger.snapshots.documents import MANIFEST
    from openledger.snapshots.folder import read_manifest

    await _fetch(client, name, folder, MANIFEST)
    for file in read_manifest(folder).files:
        await _fetch(client, name, folder, file)


async def _fetch(client: Any, snapshot: str, folder: Path, file: str) -> None:
    request = pb.ReadSnapshotFileRequest(snapshot=snapshot, file=file)
    pieces = client.stream(client.datanet.ReadSnapshotFile, request)
    first = await anext(pieces)
    with (folder / file).open("wb") as out:
        out.write(first.data)
        async for piece in pieces:
            out.write(piece.data)


async def _texts(client: Any, manifest: Manifest, part: Path, form: Format) -> dict[str, int]:
    """The texts, and the card that names them.  Raises `ValueError` where they are not what was frozen."""
    from openledger.snapshots import files

    named, opened = files.FORMATS[form]
    fields = [field.id for field in manifest.fields]
    place = part / DATA / named
    place.parent.mkdir()
    with opened(place, fields) as add:
        count, erased = await _stream(client, manifest, add)
    _describe(manifest, part, place, form)
    return {"texts": count, "erased": erased}


async def _stream(client: Any, manifest: Manifest, add: Add) -> tuple[int, int]:
    commitments, erased = [], 0
    request = pb.ReadSnapshotRequest(name=manifest.snapshot)
    async for batch in client.stream(client.datanet.ReadSnapshot, request, 3600):
        there = [text for text in map(_text, batch.records) if text is not None]
        add(there)
        erased += len(batch.records) - len(there)
        commitments += [record.commitment for record in batch.records]
    root = records.snapshot_root(commitments).hex()
    if root != manifest.root:
        raise ValueError(f"the records that were sent have the root {root}, {manifest.snapshot} has {manifest.root}")
    return len(commitments) - erased, erased


def _text(record: pb.SnapshotRecord) -> Text | None:
    """None of one that is erased.  Raises `ValueError` where it is not what it was committed to."""
    from openledger.snapshots.files import Row, Text

    if not record.salt:
        return None
    contributor, fields = names.account_address(record.contributor), dict(record.fields)
    body = records.canonical_bytes(contributor, fields, record.source)
    if records.commitment(record.salt, body) != record.commitment:
        raise ValueError(f"{record.record} is not what it was committed to")
    row = Row(record.leaf, record.record, contributor, record.licence, record.commitment.hex())
    return Text(row, fields, record.source, record.salt.hex())


def _describe(manifest: Manifest, part: Path, texts: Path, form: Format) -> None:
    from openledger.snapshots import card, croissant
    from openledger.snapshots import folder as folders
    from openledger.snapshots.croissant import JSONL, PARQUET, Column, Table
    from openledger.snapshots.documents import RECORDS

    rows, tables = folders.published(part / EXPORTED / RECORDS), []
    if media := {"parquet": PARQUET, "jsonl": JSONL}.get(form):
        of = folders.published(texts)
        columns = [Column(field.id, field.description) for field in manifest.fields]
        tables.append(
            Table(f"{DATA}/{texts.name}", "The records' texts.", of.sha256, of.size, columns, media_type=media)
        )
    words = "Whose records they are, without their texts."
    tables.append(Table(f"{EXPORTED}/{RECORDS}", words, rows.sha256, rows.size, folders.ROW_COLUMNS, key="leaf"))
    (part / "croissant.json").write_bytes(croissant.write(manifest, tables))
    (part / "README.md").write_bytes(card.write(manifest, f"{DATA}/{texts.name}"))
