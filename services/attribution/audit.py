"""The verb: an answer's paid scores, held against models that were really trained without each contributor.

For revisions whose builder had everybody left out once: by how much each contributor moved the weights is published
(``leave_one_out_index.safetensors``), so the models can be had by taking that back, and only forward passes are
needed.  Where halves of the contributors were trained too, the answer is held against those models as well
(``halves_index.safetensors``), and the grade is the worse of the two.

Which answers are measured, and of many contributors who is left out, is drawn by hash (`openledger.answer_audit`), so
nobody chooses; the grade is signed and says how many are drawn, so whoever has the receipts can tell which answers
should have been measured.  It cannot be told by anybody why one was not: the log here says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING

from openledger import answer_audit, grade
from openledger.answer_audit import FEWEST_CONTRIBUTORS, HALVES_INDEX, INDEX, MEMBERS, AnswerAudit
from openledger.artifacts import ArtifactStore
from openledger.grade import Grade
from openledger.influence.index import ContributionIndex
from openledger.receipt import Receipt
from openledger.trace import Trace
from services.attribution.resolve import Models
from services.attribution.score import Revision
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

    def audit(self, receipt: Receipt, answered: Trace) -> Audited | None:
        """Measure one answer and publish what was found; None where nothing was trained again, or for too few people.

        Call outside the worker.  Raises what `Models.resolve` and the scorer raise.
        """
        scorer, revision = self._worker.submit(self._models.resolve, answered).result()
        people, scores = answer_audit.left_out(receipt, receipt.evidence.scores), receipt.evidence.scores
        if revision is None or INDEX not in revision.lineage.files or len(people) < FEWEST_CONTRIBUTORS:
            return None
        files = revision.lineage.files
        index = ContributionIndex.open(self._artifacts.path(files[INDEX]))
        rows = [index.header.contributors.index(who) for who in people]
        rises = dict(zip(people, self._rises(scorer, revision, index, rows, answered, receipt), strict=True))
        found = AnswerAudit(receipt.response, receipt.digest(), receipt.model.adapter, files[INDEX], rises)
        paid, shuffled = answer_audit.agreements(scores, rises, receipt.trace_sha256)
        halves = None
        if HALVES_INDEX in files:
            index = ContributionIndex.open(self._artifacts.path(files[HALVES_INDEX]))
            everybody, members = answer_audit.memberships(self._artifacts.get(files[MEMBERS]))
            rows = answer_audit.drawn_halves(receipt, len(members))
            lost = self._rises(scorer, revision, index, rows, answered, receipt)
            halves = answer_audit.agreement_of_halves(scores, everybody, members[rows], lost)
            without = dict(zip(map(str, rows), lost, strict=True))
            found = replace(found, halves_index=files[HALVES_INDEX], halves=without)
        document, place = self._artifacts.put(found.dumps()), answer_audit.place(receipt)
        return Audited(receipt.response, receipt.model.adapter, paid, shuffled, document, place, halves)

    def _rises(
        self,
        scorer: Scorer,
        revision: Revision,
        index: ContributionIndex,
        rows: Sequence[int],
        answered: Trace,
        receipt: Receipt,
    ) -> list[int]:
        """By how much the answer's loss is higher under the adapter less each of these rows."""
        losses: list[int] = []
        asked, said = answered.prompt_token_ids, answered.completion_token_ids
        for start in range(0, len(rows), AT_ONCE):
            some = [index.row(row) for row in rows[start : start + AT_ONCE]]
            losses += self._worker.submit(scorer.losses_without, revision.folder, some, asked, said).result()
        return [loss - receipt.evidence.nll_model for loss in losses]

    def grade(self, revision: str, found: Sequence[Audited]) -> Grade:
        """The grade that a revision's audited answers give it; it is published."""
        held_against_both = [each for each in found if each.halves is not None]
        found = held_against_both or found  # what was measured before there was a way to use the halves does not count
        of_halves = [each.halves for each in found if each.halves is not None]
        mean, low, high = answer_audit.over_answers([each.paid for each in found], of_halves)
        documents = tuple(each.document_sha256 for each in found)
        given = grade.sign(Grade(revision, mean, low, high, documents, self.share_bps), self._key)
        self._artifacts.put(given.dumps())
        return given
