"""The verb: an answer's paid scores, held against models that were really trained without each contributor.

For revisions whose builder had everybody left out once: by how much each contributor moved the weights is published
(``leave_one_out_index.safetensors``), so the models can be had by taking that back, and only forward passes are
needed.  Which answers are measured is drawn by hash, so nobody chooses, and anybody can tell that none was left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from openledger import canonical, trace
from openledger.artifacts import ArtifactStore
from openledger.grade import Grade
from openledger.influence import agreement
from openledger.influence.index import ContributionIndex
from openledger.influence.quantize import NAT
from openledger.receipt import Receipt
from services.attribution.resolve import Models
from services.attribution.store_audits import Audited

if TYPE_CHECKING:  # it loads torch
    from openledger.influence.gradient import Scorer

INDEX, VERSION = "leave_one_out_index.safetensors", "openledger.answer_audit.v1"
FEWEST_CONTRIBUTORS = 3
"""Of two every order is right or wrong altogether."""
AT_ONCE = 4
"""Forward passes in one go: a trace that comes meanwhile waits for no more."""


def drawn(receipt: Receipt, share_bps: int) -> bool:
    """Whether an answer is among those that are measured: so many of 10,000, by the hash of trace and index."""
    seed = hashlib.sha256(f"{VERSION}/{receipt.trace_sha256}/{receipt.model.index_root}".encode()).digest()
    return int.from_bytes(seed[:8], "big") % 10_000 < share_bps


class Auditor:
    """Measures answers with the models of the scoring path, in its thread, a few forward passes at a time."""

    def __init__(self, models: Models, artifacts: ArtifactStore, worker: Executor) -> None:
        self._models, self._artifacts, self._worker = models, artifacts, worker

    def audit(self, receipt: Receipt) -> Audited | None:
        """Measure one answer and publish what was found; None where nothing was trained again, or for too few people.

        Call outside the worker.  Raises what `Models.resolve` and the scorer raise.
        """
        answered = trace.parse(self._artifacts.get(receipt.trace_sha256))
        scorer, revision = self._worker.submit(self._models.resolve, answered).result()
        if revision is None or INDEX not in revision.lineage.files:
            return None
        index = ContributionIndex.open(self._artifacts.path(revision.lineage.files[INDEX]))
        if len(index.header.contributors) < FEWEST_CONTRIBUTORS:
            return None
        whole = receipt.evidence.nll_model
        losses: list[int] = []
        for start in range(0, len(index.header.contributors), AT_ONCE):
            rows = range(start, min(start + AT_ONCE, len(index.header.contributors)))
            losses += self._submit(scorer, revision.folder, index, rows, answered).result()
        rises = {who: loss - whole for who, loss in zip(index.header.contributors, losses, strict=True)}
        document = {
            "version": VERSION,
            "response": receipt.response,
            "receipt_sha256": receipt.digest(),
            "revision": receipt.model.adapter,
            "index": revision.lineage.files[INDEX],
            "rises": {who: str(rise) for who, rise in rises.items()},
        }
        paid, shuffled = agreements(receipt.evidence.scores, rises, receipt.trace_sha256)
        sha256 = self._artifacts.put(canonical.dumps(document))
        return Audited(receipt.response, receipt.model.adapter, paid, shuffled, sha256)

    def _submit(
        self, scorer: Scorer, folder: Path, index: ContributionIndex, rows: Sequence[int], answered: trace.Trace
    ) -> Future[list[int]]:
        some = [index.row(row) for row in rows]
        return self._worker.submit(
            scorer.losses_without, folder, some, answered.prompt_token_ids, answered.completion_token_ids
        )


def agreements(scores: Mapping[str, int], rises: Mapping[str, int], seed: str) -> tuple[float, float]:
    """Spearman's correlation of scores with rises, and that of the scores dealt out at random.

    Raises `ValueError` where they are not of the same contributors.
    """
    if scores.keys() != rises.keys():
        raise ValueError("the receipt scores other contributors than were left out")
    people = sorted(scores)
    paid = np.array([scores[who] / NAT for who in people])
    truth = np.array([rises[who] / NAT for who in people])
    shuffled = np.random.default_rng(int(seed[:16], 16)).permutation(paid)
    return float(agreement.spearman(paid, truth)), float(agreement.spearman(shuffled, truth))


def grade(revision: str, found: Sequence[Audited]) -> Grade:
    """The grade that a revision's audited answers give it."""
    interval = agreement.over_queries([each.paid for each in found])
    mean, low, high = (round(1000 * value) for value in (interval.mean, interval.low, interval.high))
    return Grade(revision, mean, low, high, tuple(each.document_sha256 for each in found))
