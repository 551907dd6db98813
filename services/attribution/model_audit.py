"""The verb: a model's audits, summed up for everybody."""

from __future__ import annotations

import asyncio

from openledger import names
from openledger.adapters import read_manifest
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.influence import agreement
from openledger.manifest import LineageManifest
from services.attribution import store_audits
from services.attribution.audit import INDEX
from services.attribution.store_audits import Audited
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
    return await asyncio.to_thread(summed_up, revision, found, trained_again=INDEX in lineage.files)


def _lineage(artifacts: ArtifactStore, revision: str) -> LineageManifest | None:
    adapter, digest = names.match("adapters/*/revisions/*", revision)
    try:
        lineage = read_manifest(artifacts, digest) if artifacts.has(digest) else None
    except (ArtifactError, ValueError):
        return None
    return lineage if lineage is not None and lineage.adapter == adapter else None


def summed_up(revision: str, found: list[Audited], *, trained_again: bool) -> pb.ModelAudit:
    """What the audits of a revision say, in numbers and in words."""
    told = pb.ModelAudit(
        revision=revision, answers=len(found), documents=[each.document_sha256 for each in found[:MOST_DOCUMENTS]]
    )
    if not trained_again:
        told.words = (
            "Nothing was trained again for this revision; its builder can have everybody left out once (leave_one_out)."
        )
    elif not found:
        told.words = "No answer was drawn yet."
    else:
        paid, luck = _mean([each.paid for each in found]), _mean([each.shuffled for each in found])
        told.paid.CopyFrom(paid)
        told.shuffled.CopyFrom(luck)
        told.words = (
            f"Over {len(found)} answer{'s' * (len(found) > 1)} drawn at random, paid scores put contributors in the "
            f"order in which really leaving them out does: rank correlation {_said(paid)}; shuffled {_said(luck)}."
        )
    return told


def _mean(values: list[float]) -> pb.Agreement:
    found = agreement.over_queries(values)
    return pb.Agreement(mean=found.mean, low=found.low, high=found.high)


def _said(found: pb.Agreement) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"
