"""The verb: an answer's paid scores, held against models that were really trained without each contributor.

For revisions whose builder had everybody left out once: by how much each contributor moved the weights is published
(``leave_one_out_index.safetensors``), so the models can be had by taking that back, and only forward passes are
needed.  Which answers are measured, and of many contributors who is left out, is drawn by hash
(`openledger.answer_audit`), so nobody chooses; the grade is signed and says how many are drawn, so whoever has the
receipts can tell which answers should have been measured.  It cannot be told by anybody why one was not: the log here
says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING

from openledger import answer_audit, grade, trace
from openledger.answer_audit import FEWEST_CONTRIBUTORS, INDEX, AnswerAudit
from openledger.artifacts import ArtifactStore
from openledger.grade import Grade
from openledger.influence.index import ContributionIndex
from openledger.receipt import Receipt
from services.attribution.resolve import Models
from services.attribution.store_audits import Audited

if TYPE_CHECKING:  # it loads torch
    from openledger.influence.gradient import Scorer

AT_ONCE = 4
"""Forward passes in one go: a trace that comes meanwhile waits for no more."""


class Auditor:
    """Measures answers with the models of the scoring path, in its thread, a few forward passes at a time."""

    def __init__(self, models: Models, artifacts: ArtifactStore, worker: Executor, key: str, share_bps: int) -> None:
        """key: grades are signed with it.  share_bps: of 10,000 answers so many are drawn."""
        self._models, self._artifacts, self._worker = models, artifacts, worker
        self._key, self.share_bps = key, share_bps

    def draws(self, receipt: Receipt) -> bool:
        """Whether an answer is to be measured."""
        return bool(receipt.model.adapter) and answer_audit.drawn(receipt, self.share_bps)

    def audit(self, receipt: Receipt) -> Audited | None:
        """Measure one answer and publish what was found; None where nothing was trained again, or for too few people.

        Call outside the worker.  Raises what `Models.resolve` and the scorer raise.
        """
        answered = trace.parse(self._artifacts.get(receipt.trace_sha256))
        scorer, revision = self._worker.submit(self._models.resolve, answered).result()
        if revision is None or INDEX not in revision.lineage.files:
            return None
        index = ContributionIndex.open(self._artifacts.path(revision.lineage.files[INDEX]))
        people = answer_audit.left_out(receipt, receipt.evidence.scores)
        if len(people) < FEWEST_CONTRIBUTORS:
            return None
        rows = [index.header.contributors.index(who) for who in people]
        losses: list[int] = []
        for start in range(0, len(rows), AT_ONCE):
            losses += self._submit(scorer, revision.folder, index, rows[start : start + AT_ONCE], answered).result()
        whole = receipt.evidence.nll_model
        rises = {who: loss - whole for who, loss in zip(people, losses, strict=True)}
        files = revision.lineage.files
        found = AnswerAudit(receipt.response, receipt.digest(), receipt.model.adapter, files[INDEX], rises)
        document = self._artifacts.put(found.dumps())
        paid, shuffled = answer_audit.agreements(receipt.evidence.scores, rises, receipt.trace_sha256)
        place = answer_audit.place(receipt)
        return Audited(receipt.response, receipt.model.adapter, paid, shuffled, document, place)

    def _submit(
        self, scorer: Scorer, folder: Path, index: ContributionIndex, rows: Sequence[int], answered: trace.Trace
    ) -> Future[list[int]]:
        some = [index.row(row) for row in rows]
        return self._worker.submit(
            scorer.losses_without, folder, some, answered.prompt_token_ids, answered.completion_token_ids
        )

    def grade(self, revision: str, found: Sequence[Audited]) -> Grade:
        """The grade that a revision's audited answers give it; it is published."""
        mean, low, high = answer_audit.over_answers([each.paid for each in found])
        documents = tuple(each.document_sha256 for each in found)
        given = grade.sign(Grade(revision, mean, low, high, documents, self.share_bps), self._key)
        self._artifacts.put(given.dumps())
        return given
