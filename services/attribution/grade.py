"""The verb: a model's audits, summed up for everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from openledger import names
from openledger.adapters import read_manifest
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.influence import agreement
from openledger.manifest import LineageManifest
from services.attribution import audit, store_audits
from services.kit.database import Database
from services.kit.errors import not_found

MOST_DOCUMENTS = 100


async def model_audit(database: Database, artifacts: ArtifactStore, revision: str) -> pb.ModelAudit:
    """Raises REVISION_NOT_FOUND for what was not published here."""
    lineage = await asyncio.to_thread(_lineage, artifacts, revision)
    if lineage is None:
        raise not_found(
            "REVISION_NOT_FOUND", f"{revision[:200]} was not published here: check its name", revision=revision[:200]
        )
    found = await database.read(lambda c: store_audits.audits(c, revision))
    told = pb.ModelAudit(
        revision=revision,
        answers=len(found),
        words=audit.words(found, trained_again=audit.INDEX in lineage.files),
        documents=[each.document_sha256 for each in found[:MOST_DOCUMENTS]],
    )
    if found:
        told.paid.CopyFrom(_mean([each.paid for each in found]))
        told.shuffled.CopyFrom(_mean([each.shuffled for each in found]))
    return told


def _lineage(artifacts: ArtifactStore, revision: str) -> LineageManifest | None:
    adapter, digest = names.match("adapters/*/revisions/*", revision)
    try:
        lineage = read_manifest(artifacts, digest) if artifacts.has(digest) else None
    except (ArtifactError, ValueError):
        return None
    return lineage if lineage is not None and lineage.adapter == adapter else None


def _mean(values: Sequence[float]) -> pb.Agreement:
    found = agreement.over_queries(values)
    return pb.Agreement(mean=found.mean, low=found.low, high=found.high)
