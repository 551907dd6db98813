"""A folder of a snapshot's published files: made by the Datanet, checked by anybody.

Besides the manifest's own bytes, all of it follows from the manifest: files by their SHA-256, the root by the
commitments in `records.parquet`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from openledger import records
from openledger.artifacts import file_sha256
from openledger.snapshots import card, croissant, files, proofs
from openledger.snapshots.croissant import About, Column, Table
from openledger.snapshots.documents import (
    CARD,
    CLUSTERS,
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
_PAIR_COLUMNS = (
    Column("leaf", "A record that reads like an earlier one.", "Integer"),
    Column("first_leaf", "That one.", "Integer"),
)


def make(
    folder: Path, about: About, rows: Iterable[Row], firsts: Mapping[int, int] | None, salt: bytes
) -> dict[str, PublishedFile]:
    """Write all files but the manifest into an empty folder; returns them by name.

    firsts: leaves by those that read like them; None where likeness was not looked for.  salt: see `write_clusters`.
    """
    files.write_rows(folder / RECORDS, rows)
    said: list[tuple[str, str, Sequence[Column]]] = [
        (RECORDS, "Whose records they are, without their texts.", ROW_COLUMNS)
    ]
    if firsts is not None:
        files.write_clusters(folder / CLUSTERS, firsts, salt)
        said.append((CLUSTERS, "Records that read like an earlier one, which is credited.", _PAIR_COLUMNS))
    tables = [
        Table(name, words, file_sha256(folder / name), (folder / name).stat().st_size, columns, key="leaf")
        for name, words, columns in said
    ]
    (folder / CROISSANT).write_bytes(croissant.write(about, tables))
    (folder / CARD).write_bytes(card.write(about))
    return {place.name: published(place) for place in sorted(folder.iterdir())}


def published(place: Path) -> PublishedFile:
    """A file as a manifest names it."""
    return PublishedFile(sha256=file_sha256(place), size=place.stat().st_size)


def read_manifest(folder: Path) -> Manifest:
    """Raises `ValueError`, `OSError`."""
    place = folder / MANIFEST
    if place.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{MANIFEST} has more than {_MOST_BYTES} bytes")
    return Manifest.from_bytes(place.read_bytes())


def about(manifest: Manifest) -> About:
    """What cards and metadata of a snapshot say."""
    names = About.__dataclass_fields__
    return About(**{name: getattr(manifest, name) for name in names})


def entry_of(manifest: Manifest) -> Entry:
    """Of a snapshot with that manifest, in its datanet's log."""
    return Entry(
        snapshot=manifest.snapshot,
        root=manifest.root,
        record_count=manifest.record_count,
        contributor_count=manifest.contributor_count,
        licence=manifest.licence,
        create_time=manifest.create_time,
        manifest=manifest.digest(),
    )


def check(folder: Path) -> tuple[str, Entry]:
    """What was checked, in words, and the snapshot's entry: each file is the manifest's, and they give its root.

    Where `proof.json` is there, it must be of this manifest.  A file that is erased (`clusters.parquet`) may be
    missing, and is named.  Raises `ValueError` that says what does not hold, and `OSError`.
    """
    manifest = read_manifest(folder)
    logged = _check_proof(folder, manifest)
    missing = [name for name in manifest.files if not _is_there(folder, name, manifest.files[name])]
    if missing not in ([], [CLUSTERS]):
        raise ValueError(f"{', '.join(missing)} is missing")
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
    left = f"; {CLUSTERS} is not here: it is removed when a record in it is erased" if missing else ""
    words = (
        f"the files are those of the manifest {manifest.digest()}, and the {len(commitments)} commitments have the "
        f"root {root} of {manifest.snapshot}{logged}{left}"
    )
    return words, entry_of(manifest)


def _check_proof(folder: Path, manifest: Manifest) -> str:
    place = folder / PROOF
    if not place.exists():
        return f"; there is no {PROOF} here that its datanet's log holds it"
    proof = proofs.parse(place.read_bytes())
    if not isinstance(proof, proofs.SnapshotProof) or proof.snapshot != entry_of(manifest):
        raise ValueError(f"{PROOF} is not of the snapshot of {MANIFEST}")
    proof.check()
    return f", whose datanet's log holds it (root {proof.log_root} at {proof.last.snapshot})"


def _is_there(folder: Path, name: str, wanted: PublishedFile) -> bool:
    if "/" in name or name.startswith("."):
        raise ValueError(f"the manifest names {name[:80]!r}, which is no plain file name")
    place = folder / name
    if not place.exists():
        return False
    if file_sha256(place) != wanted.sha256:
        raise ValueError(f"{name} is not the file that the manifest names: it has another SHA-256")
    return True
