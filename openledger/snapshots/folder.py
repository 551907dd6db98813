"""A folder of a snapshot's published files: made by the Datanet, checked by anybody.

Besides the manifest's own bytes, all of it follows from the manifest: files by their SHA-256, the root by the
commitments in `records.parquet`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from openledger import records
from openledger.artifacts import file_sha256
from openledger.snapshots import card, croissant, files, proofs
from openledger.snapshots.croissant import Column, Table
from openledger.snapshots.documents import (
    CARD,
    CROISSANT,
    MANIFEST,
    PROOF,
    RECORDS,
    Entry,
    Manifest,
    PublishedFile,
)
from openledger.snapshots.files import Row

_MOST_BYTES = 2**20
ROW_COLUMNS = (
    Column("leaf", "Its place in the snapshot's Merkle tree, from 0.", "Integer"),
    Column("record", "The record's name."),
    Column("contributor", "Address of the account whose record it is."),
    Column("licence", "SPDX expression."),
    Column("commitment", "SHA-256 over 0x00, a salt and the record's canonical bytes; hex."),
)


def make(folder: Path, said: Manifest, rows: Iterable[Row]) -> Manifest:
    """Write all files into an empty folder; returns the manifest, which is `said` with their names, and one of them."""
    files.write_rows(folder / RECORDS, rows)
    of = published(folder / RECORDS)
    words = "Whose records they are, without their texts."
    table = Table(RECORDS, words, of.sha256, of.size, ROW_COLUMNS, key="leaf")
    (folder / CROISSANT).write_bytes(croissant.write(said, [table]))
    (folder / CARD).write_bytes(card.write(said))
    manifest = said.model_copy(update={"files": {place.name: published(place) for place in sorted(folder.iterdir())}})
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return manifest


def published(place: Path) -> PublishedFile:
    """A file as a manifest names it."""
    return PublishedFile(sha256=file_sha256(place), size=place.stat().st_size)


def read_manifest(folder: Path) -> Manifest:
    """Raises `ValueError`, `OSError`."""
    place = folder / MANIFEST
    if place.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{MANIFEST} has more than {_MOST_BYTES} bytes")
    return Manifest.from_bytes(place.read_bytes())


def check(folder: Path) -> tuple[str, Entry]:
    """What was checked, in words, and the snapshot's entry: each file is the manifest's, and they give its root.

    Where `proof.json` is there, it must be of this manifest.  Raises `ValueError` that says what does not hold, and
    `OSError`.
    """
    manifest = read_manifest(folder)
    logged = _check_proof(folder, manifest)
    for name, wanted in manifest.files.items():
        _check_file(folder / name, wanted)
    commitments, people = [], set()
    for leaf, row in enumerate(files.read_rows(folder / RECORDS)):
        if row.leaf != leaf:
            raise ValueError(f"{RECORDS} has leaf {row.leaf} where leaf {leaf} was expected")
        commitments.append(bytes.fromhex(row.commitment))
        people.add(row.contributor)
    if (len(commitments), len(people)) != (manifest.record_count, manifest.contributor_count):
        raise ValueError(f"{RECORDS} has {len(commitments)} records of {len(people)} contributors, the manifest others")
    root = records.snapshot_root(commitments).hex()
    if root != manifest.root:
        raise ValueError(f"the records have the root {root}, the manifest says {manifest.root}")
    words = (
        f"the files are those of the manifest {manifest.digest()}, and the {len(commitments)} commitments have the "
        f"root {root} of {manifest.snapshot}{logged}"
    )
    return words, manifest.entry()


def _check_proof(folder: Path, manifest: Manifest) -> str:
    place = folder / PROOF
    if not place.exists():
        return f"; there is no {PROOF} here that its datanet's log holds it"
    proof = proofs.parse(place.read_bytes())
    if not isinstance(proof, proofs.SnapshotProof) or proof.snapshot != manifest.entry():
        raise ValueError(f"{PROOF} is not of the snapshot of {MANIFEST}")
    proof.check()
    return f", whose datanet's log holds it (root {proof.log_root} at {proof.last.snapshot})"


def _check_file(place: Path, wanted: PublishedFile) -> None:
    if not place.exists():
        raise ValueError(f"{place.name} is missing")
    if file_sha256(place) != wanted.sha256:
        raise ValueError(f"{place.name} is not the file that the manifest names: it has another SHA-256")
