"""Make the adapter of a finished fine-tune public: it is announced, its files become artifacts, then it gets a name.

Each step can be repeated without harm, and the name appears last: whoever finds a revision finds all of its files.  A
record that is erased before the announcement stops it; one that is erased after it flags the revision, as ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from openledger import base_models, manifest
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.manifest import LineageManifest
from services.factory import audit, store, store_revisions, store_snapshots
from services.factory.audit import Audit
from services.factory.evaluation import card
from services.factory.evaluation.report import EvaluationReport
from services.factory.model import FineTune, Revision, State
from services.kit.errors import Fault, exists, precondition
from services.kit.private_files import PrivateFiles


async def put_artifacts(job: FineTune, artifacts: ArtifactStore, private: PrivateFiles) -> Revision:
    """Store what belongs to a fine-tune's adapter; returns the revision that may now be named.

    Raises `Fault`: NOT_SUCCEEDED, ADAPTER_LOST.
    """
    revision = _unnamed(job)
    return replace(revision, card=await asyncio.to_thread(_put, job, artifacts, private))


def check_erased(c: Connection, job: FineTune) -> None:
    """Raises `Fault` RECORD_ERASED where a record of an adapter that has no name yet is erased."""
    record = store_snapshots.erased_among(c, job.snapshots, job.id)
    if record is not None and store_revisions.find_revision(c, job.revision) is None:
        raise _erased(job, record)


def announce(c: Connection, job: FineTune) -> None:
    """Say that its files are about to become public.  Raises `Fault`: NOT_SUCCEEDED, RECORD_ERASED, ADAPTER_TAKEN."""
    revision = _unnamed(job)
    check_erased(c, job)
    if store.claim_adapter(c, job.adapter, job.owner) != job.owner:
        raise adapter_taken(job.adapter)
    store_revisions.announce_revision(c, revision)


def name_it(c: Connection, revision: Revision) -> Revision:
    """Give a revision that was announced, and whose files are public, its name, if it has none yet."""
    return store_revisions.add_revision(c, revision)


def adapter_taken(adapter: str) -> Fault:
    """Said to whoever wants it."""
    return exists("ADAPTER_TAKEN", f"adapters/{adapter} is another account's; choose another adapter_id")


def _unnamed(job: FineTune) -> Revision:
    if job.state is not State.SUCCEEDED or job.metrics is None:
        raise precondition(
            "NOT_SUCCEEDED",
            f"{job.name} is {job.state}; only a fine-tune that has succeeded can be published",
            state=job.state,
        )
    return Revision(job.revision, job.adapter, job.id, job.manifest, job.metrics, datetime.now(UTC))


def _put(job: FineTune, artifacts: ArtifactStore, private: PrivateFiles) -> str:
    """Digest of the card, which names the manifest's digest and so is none of its files."""
    lineage = manifest.parse(job.manifest)
    if not artifacts.has(lineage.digest):  # once it is public, its private files may have gone with an erased record
        for name, digest in lineage.private_files.items():
            _intact(job, name, digest, private.place(lineage.digest, name))
    missing = {name: digest for name, digest in lineage.files.items() if not artifacts.is_whole(digest)}
    for file in [_intact(job, name, digest, _trained(job, name)) for name, digest in missing.items()]:
        artifacts.put_file(file)  # once all of them are seen to be there
    artifacts.put(job.manifest)
    return artifacts.put(card_of(lineage, artifacts).encode())


def card_of(lineage: LineageManifest, artifacts: ArtifactStore) -> str:
    """The model card of a revision whose files are public."""
    report = EvaluationReport.from_bytes(artifacts.get(lineage.evaluation)) if lineage.evaluation else None
    known = base_models.registry().get(lineage.base.name)
    hub_id, another_form = ("", False) if known is None else (known.hub_id, bool(known.made_from))
    judged = lineage.files.get(audit.FILE)
    judgement = Audit.from_bytes(artifacts.get(judged)) if judged else None
    return card.write(lineage, report, hub_id, judgement, another_form=another_form)


def _trained(job: FineTune, name: str) -> Path:
    return Path(job.audit_output if name in audit.FILES else job.output) / name


def _intact(job: FineTune, name: str, digest: str, file: Path) -> Path:
    """A file with the bytes that were promised when training ended."""
    found = file_sha256(file) if file.is_file() else "nothing"
    if found != digest:
        raise precondition(
            "ADAPTER_LOST",
            f"{name} of {job.name} is not there as it was trained (SHA-256 {digest} was promised, there is {found}); "
            "create the fine-tune again: it gives the same adapter",
            file=name,
        )
    return file


def _erased(job: FineTune, record: str) -> Fault:
    return precondition(
        "RECORD_ERASED",
        f"{job.name} was trained on {record}, which is erased: what was made from it is not published any more; make "
        "it anew from a snapshot that was cut after that",
        record=record,
    )
