"""From a finished worker's result to the lineage manifest, whose digest names the adapter revision.

No time, path or machine goes in: the same run on the same data by the same code gives the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openledger import manifest
from openledger.manifest import Base, LineageManifest, Snapshot
from services.factory import provenance
from services.factory.model import FineTune, Metrics
from services.kit.executor import Done

EVALUATION, PRIVATE_EVALUATION = "evaluation.json", "evaluation_private.json"
"""Among a worker's files: what was measured, for everybody, and with contributors' texts for the builder alone."""

TRUNK = "trunk.safetensors"
"""The frozen layers' output for every record, by record, while trainings again use it; never published."""


def lineage(job: FineTune, result: Mapping[str, Any], private_key: str) -> LineageManifest:
    """The signed manifest.  result: what `services.factory.task.fine_tune` returned.  Raises `ManifestError`."""
    unsigned = LineageManifest(
        adapter=job.adapter,
        base=Base(job.spec.base, job.base_sha256),
        files=result["files"],
        index_root=result["index_root"],
        snapshots=tuple(Snapshot(pin.name, pin.root) for pin in job.snapshots),
        spec=job.spec.to_json(),
        contributors=result["contributors"],
        owner=job.owner,
        metrics=result["metrics"],
        code=provenance.code(),
        licence=job.licence,
        attributions=tuple(manifest.Attribution(**vars(due)) for due in job.attributions),
        use=str(job.use),
        evaluation=result["files"].get(EVALUATION, ""),
        private_files=result.get("private_files", {}),
        replaces=_replaces(job),
    )
    return manifest.sign(unsigned, private_key)


def _replaces(job: FineTune) -> manifest.Replaces | None:
    return None if job.replaces is None else manifest.Replaces(job.replaces.revision, job.replaces.without)


def with_audit(result: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, Any]:
    """A run's result, with the files and the words of its trainings again."""
    return {**result, "files": {**result["files"], **again["files"]}, "audit": again["words"]}


def with_private(result: Mapping[str, Any], made: Sequence[Done]) -> dict[str, Any]:
    """A run's result, with the names and SHA-256 of its private files, and the time that it took to make them."""
    files = {name: sha for done in made for name, sha in done.result["files"].items()}
    seconds = result["seconds"] + sum(done.result.get("seconds", 0.0) for done in made)
    return {**result, "private_files": files, "seconds": seconds}


def measured(result: Mapping[str, Any]) -> Metrics:
    """The same result, as figures for people."""
    figures = result["metrics"]
    return Metrics(
        train_records=figures["records"],
        held_out_records=figures["records_held_out"],
        dropped=result["dropped"],
        contributors=len(result["contributors"]),
        loss_before=figures.get("loss_before", 0.0),
        loss_after=figures.get("loss_after", 0.0),
        train_tokens=figures["tokens"],
        seconds=result["seconds"],
        accuracy_before=figures.get("accuracy_before"),
        accuracy_after=figures.get("accuracy_after"),
        verdict=result.get("verdict", ""),
        audit=result.get("audit", ""),
        peak_memory_bytes=result.get("peak_memory_bytes", 0),
    )
