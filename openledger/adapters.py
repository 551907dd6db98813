"""An adapter revision, taken out of the artifact store into a folder that PEFT and vLLM can load.

Every byte is checked on the way: the manifest by the revision's digest, each file by the manifest.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from openledger import canonical, manifest
from openledger.artifacts import ArtifactStore, file_sha256, sync_folder

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
SPAN_INDEX = "span_index.safetensors"
"""Among a revision's private files: the index of what it was trained to say (`openledger.spans`).  A document's owner
is a row of the contribution index, its record a place in the list of records of `TRAINING`."""
RECORD_SKETCHES = "record_sketches.safetensors"
"""Likewise: a sketch of each record's gradient (`openledger.influence.record_sketches`).  A leaf is a record's place in
the list of records of `TRAINING`."""
TRAINING = "training.json"
"""Among its files: which records it was trained on, in which order."""


def read_manifest(store: ArtifactStore, digest: str) -> manifest.LineageManifest:
    """The lineage manifest of a revision.  Raises `ArtifactError` (missing, damaged) or `ValueError` (not one)."""
    if store.size(digest) > manifest.MAX_BYTES:  # whoever names some weights must not have them read into memory
        raise manifest.ManifestError(f"a manifest has at most {manifest.MAX_BYTES} bytes, and that has more")
    return manifest.parse(store.get(digest))


def trained_on(store: ArtifactStore, lineage: manifest.LineageManifest) -> list[tuple[str, str]]:
    """The records that a revision was trained on, in the order of `TRAINING`: name, and who is credited with it.

    A canary is nobody's.  Raises `ArtifactError` (missing, damaged), `KeyError` or `ValueError` (not such a list).
    """
    return [
        (record, contributor)
        for record, contributor in canonical.parse_json(store.get(lineage.files[TRAINING]))["records"]
    ]


def materialise(store: ArtifactStore, digest: str, root: Path) -> Path:
    """The folder `root/<digest>` with the adapter's PEFT files; safe to race and to kill.

    Files that are there already are hashed: what a power cut left torn is copied again.
    Raises `ArtifactError` (no digest, missing, damaged) or `ValueError` (no manifest).
    """
    lineage = read_manifest(store, digest)  # also what keeps `digest` from being a path to somewhere else
    folder = Path(root) / digest
    folder.mkdir(parents=True, exist_ok=True)
    torn = [name for name in ADAPTER_FILES if not _holds(folder / name, lineage.files[name])]
    for name in torn:
        _copy(store.path(lineage.files[name]), folder / name)
    if torn:
        sync_folder(folder)
        sync_folder(folder.parent)
    return folder


def _holds(file: Path, digest: str) -> bool:
    return file.is_file() and file_sha256(file) == digest


def _copy(source: Path, target: Path) -> None:
    """Put a copy in its place at once, and not before its bytes are on the disk: somebody may be reading there."""
    handle, new = tempfile.mkstemp(dir=target.parents[1], prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file, source.open("rb") as original:
            shutil.copyfileobj(original, file)
            file.flush()
            os.fsync(file.fileno())
        Path(new).chmod(0o644)
        Path(new).replace(target)
    except BaseException:
        Path(new).unlink()
        raise
