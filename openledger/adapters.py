"""An adapter revision, taken out of the artifact store into a folder that PEFT and vLLM can load.

Every byte is checked on the way: the manifest by the revision's digest, each file by the manifest.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from openledger import manifest
from openledger.artifacts import ArtifactStore

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
    return manifest.parse(store.get(digest))


def trained_on(store: ArtifactStore, lineage: manifest.LineageManifest) -> list[tuple[str, str]]:
    """The records that a revision was trained on, in the order of `TRAINING`: name, and who is credited with it.

    A canary is nobody's.  Raises `ArtifactError` (missing, damaged), `KeyError` or `ValueError` (not such a list).
    """
    return [(record, contributor) for record, contributor in json.loads(store.get(lineage.files[TRAINING]))["records"]]


def materialise(store: ArtifactStore, digest: str, root: Path) -> Path:
    """The folder `root/<digest>` with the adapter's PEFT files, made if it is not there; safe to race and to kill.

    Raises `ArtifactError` (no digest, missing, damaged) or `ValueError` (no manifest).
    """
    lineage = read_manifest(store, digest)  # also what keeps `digest` from being a path to somewhere else
    folder = Path(root) / digest
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as new:
        for name in ADAPTER_FILES:
            shutil.copyfile(store.path(lineage.files[name]), Path(new) / name)
        Path(new).chmod(0o755)
        ready = Path(new).rename(Path(new + "-ready"))
    try:
        ready.rename(folder)
    except OSError:
        shutil.rmtree(ready)  # somebody else was faster, with the same bytes
        if not folder.is_dir():
            raise
    return folder
