"""The verb: a model's audits, summed up for everybody."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from openledger import names
from openledger.adapters import read_manifest
from openledger.answer_audit import INDEX
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.influence import agreement
from openledger.manifest import LineageManifest
from services.attribution import store_audits
from services.attribution.store_audits import Audited
from services.kit.database import Database
from services.kit.errors import not_found

MOST_DOCUMENTS = 100
_KEPT = 256
"""Sums of the revisions that were asked for last."""


class ModelAudits:
    """Anybody may ask, and bootstrapping takes a while: a sum is made once for each grade of a revision."""

    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database, self._artifacts = database, artifacts
        self._told: OrderedDict[tuple[str, str], pb.ModelAudit] = OrderedDict()

    async def get(self, revision: str) -> pb.ModelAudit:
        """Raises REVISION_NOT_FOUND for what was not published here."""
        lineage = await asyncio.to_thread(_lineage, self._artifacts, revision)
        if lineage is None:
            raise not_found(
                "REVISION_NOT_FOUND",
                f"{revision[:200]} was not published here: check its name",
                revision=revision[:200],
            )
        grade = await self._database.read(lambda c: store_audits.grade_sha256(c, revision))
        if (revision, grade) not in self._told:
            grade, found = await self._database.read(
                lambda c: (store_audits.grade_sha256(c, revision), store_audits.audits(c, revision))
            )
            told = await asyncio.to_thread(summed_up, revision, found, grade, trained_again=INDEX in lineage.files)
            self._told[revision, grade] = told
            while len(self._told) > _KEPT:
                self._told.popitem(last=False)
        self._told.move_to_end((revision, grade))
        return self._told[revision, grade]


def _lineage(artifacts: ArtifactStore, revision: str) -> LineageManifest | None:
    adapter, digest = names.match("adapters/*/revisions/*", revision)
    try:
        lineage = read_manifest(artifacts, digest) if artifacts.has(digest) else None
    except (ArtifactError, ValueError):
        return None
    return lineage if lineage is not None and lineage.adapter == adapter else None


def summed_up(revision: str, found: list[Audited], grade: str, *, trained_again: bool) -> pb.ModelAudit:
    """What the audits of a revision say, in numbers and in words.  grade: SHA-256, or "" where there is none."""
    documents = [each.document_sha256 for each in found[:MOST_DOCUMENTS]]
    told = pb.ModelAudit(revision=revision, answers=len(found), documents=documents, grade=grade)
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
        halves = [each.halves for each in found if each.halves is not None]
        if halves:
            told.halves.CopyFrom(_mean(halves))
            told.words += (
                f" And random halves of them in the order in which training with these does: {_said(told.halves)}."
            )
    return told


def _mean(values: list[float]) -> pb.Agreement:
    found = agreement.over_queries(values)
    return pb.Agreement(mean=found.mean, low=found.low, high=found.high)


def _said(found: pb.Agreement) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"
