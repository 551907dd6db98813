"""Checks a grade from the documents that it names: whether its numbers follow from them, and them from receipts.

Believed here: by how much each contributor was missed (`rises`), which takes a forward pass each to measure again, and
that the receipts measure what they say (`openledger.verify` takes them one by one).
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import NamedTuple

from openledger import answer_audit
from openledger import grade as grades
from openledger import receipt as receipts
from openledger import trace as traces
from openledger.answer_audit import AnswerAudit, Bools
from openledger.artifacts import ArtifactStore
from openledger.grade import Grade
from openledger.manifest import LineageManifest
from openledger.receipt import Receipt

_RECEIPT = b'{"developer":'
_ROUNDING = 1
"""Thousandths: a mean of correlations may lie on the edge between two, and sums be rounded otherwise elsewhere."""


def check(grade: Grade, signer: str, lineage: LineageManifest, artifacts: ArtifactStore) -> str:
    """What was checked, in words.  Raises `ValueError` that says what is wrong.

    signer: lower-case address; of the receipt that names the grade, and so of every receipt that was measured.
    """
    if grade.audit_bps is not None:
        _signature(grade, signer)
    if len(set(grade.documents)) != len(grade.documents):
        raise ValueError("the grade counts one measurement twice")
    audits = list(_audits(grade, artifacts))
    if len({audit.response for audit, _ in audits}) != len(audits):
        raise ValueError("the grade counts one answer twice")
    halves, correlations, of_halves = _halves(lineage, artifacts), [], []
    for audit, receipt in audits:
        indexes = tuple(lineage.files.get(name, "") for name in (answer_audit.INDEX, answer_audit.HALVES_INDEX))
        if (audit.index, audit.halves_index) != indexes:
            raise ValueError(f"{audit.response} was measured with another index than the revision's of leaving out")
        if receipt.signer != signer:
            raise ValueError(f"the receipt of {audit.response} is signed by {receipt.signer}, not by {signer}")
        correlations.append(_agreement(grade, audit, receipt))
        if halves is not None:
            of_halves.append(_agreement_of_halves(audit, receipt, *halves))
    _numbers(grade, correlations, of_halves)
    how = "of drawn answers" if grade.audit_bps is not None else "(which answers are drawn it does not say)"
    return f"its numbers follow from the {len(audits)} measurements {how} that it names"


class Passed(NamedTuple):
    """Answers that a grade's own share draws and that it passes over, each by its response, in order.

    due: had to be measured. private: likewise, but their payers keep them and may have ended them before they were
    measured, which nobody can see here. undated: nothing here says when they ended.
    """

    due: list[str]
    private: list[str]
    undated: list[str]


def passed(grade: Grade, artifacts: ArtifactStore) -> Passed:
    """Of the answers that have a receipt in this folder, those that the grade passes over.

    Only those that ended before the newest measured one did, and where a grade is over the newest alone, after the
    oldest one: those may have been measured before or be measured yet.  Receipts of before version 6 do not say when
    their answers ended, and their traces may be missing here.  Reads every receipt in the folder.  Raises `ValueError`
    where the grade's own documents cannot be read.
    """
    ends = {receipt.response: _end(receipt, artifacts) for _, receipt in _audits(grade, artifacts)}
    known = [end for end in ends.values() if end]
    first = min(known, default="") if len(grade.documents) >= grades.MOST_ANSWERS else ""
    last, found = max(known, default=""), Passed([], [], [])
    for receipt in sorted(_left_out(grade, ends.keys(), artifacts), key=lambda receipt: receipt.response):
        end = _end(receipt, artifacts)
        if not end:
            found.undated.append(receipt.response)
        elif first < end < last:
            (found.due if receipt.published else found.private).append(receipt.response)
    return found


def _left_out(grade: Grade, measured: Container[str], artifacts: ArtifactStore) -> Iterator[Receipt]:
    """Receipts of answers that the grade's share draws, and that it is not over."""
    if grade.audit_bps is None:
        return
    for receipt in _receipts(artifacts):
        of_this = receipt.model.adapter == grade.revision and receipt.signer == grade.signer
        if not of_this or receipt.response in measured or not answer_audit.drawn(receipt, grade.audit_bps):
            continue
        if _signed(receipt):
            yield receipt


def _signed(receipt: Receipt) -> bool:
    """Not by whoever put a file into the folder, to make the signer look careless."""
    try:
        receipts.check_signature(receipt)
    except ValueError:
        return False
    return True


def _receipts(artifacts: ArtifactStore) -> Iterator[Receipt]:
    """Every receipt in a folder.  Canonical JSON begins with a document's first field."""
    for file in sorted((artifacts.root / "sha256").glob("*/*")):
        with file.open("rb") as opened:
            if opened.read(len(_RECEIPT)) != _RECEIPT:
                continue
        try:
            yield receipts.parse(artifacts.get(file.name))
        except ValueError:
            continue  # damaged, or something else that begins like one


def _end(receipt: Receipt, artifacts: ArtifactStore) -> str:
    """When the answer ended: times are written in one form, whose order is that of the texts.

    Empty where the receipt is from before it was said there, and the trace is not here.
    """
    if receipt.end_time:
        return receipt.end_time
    if not artifacts.has(receipt.trace_sha256):
        return ""
    return traces.parse(artifacts.get(receipt.trace_sha256)).end_time


def _signature(grade: Grade, signer: str) -> None:
    grades.check_signature(grade)
    if grade.signer != signer:
        raise ValueError(f"the grade is signed by {grade.signer}, the receipt by {signer}")


def _audits(grade: Grade, artifacts: ArtifactStore) -> Iterator[tuple[AnswerAudit, Receipt]]:
    """The measurements, each with the receipt that was measured."""
    for digest in grade.documents:
        audit = answer_audit.parse(artifacts.get(digest))
        receipt = receipts.parse(artifacts.get(audit.receipt_sha256))
        receipts.check_signature(receipt)
        if not audit.revision == receipt.model.adapter == grade.revision:
            raise ValueError(f"the measurement {digest} is of another model than the grade")
        if audit.response != receipt.response:
            raise ValueError(f"the measurement {digest} is of {audit.response}, its receipt of {receipt.response}")
        yield audit, receipt


def _agreement(grade: Grade, audit: AnswerAudit, receipt: Receipt) -> float:
    if grade.audit_bps is not None and not answer_audit.drawn(receipt, grade.audit_bps):
        raise ValueError(f"{audit.response} is not among the {grade.audit_bps} of 10000 answers that are drawn")
    if sorted(audit.rises) != answer_audit.left_out(receipt, receipt.evidence.scores):
        raise ValueError(f"for {audit.response} others were left out than those who are drawn")
    return answer_audit.agreements(receipt.evidence.scores, audit.rises, receipt.trace_sha256)[0]


def _halves(lineage: LineageManifest, artifacts: ArtifactStore) -> tuple[list[str], Bools] | None:
    """Who is in which half, where the models of halves are published."""
    if answer_audit.HALVES_INDEX not in lineage.files:
        return None
    return answer_audit.memberships(artifacts.get(lineage.files.get(answer_audit.MEMBERS, "")))


def _agreement_of_halves(audit: AnswerAudit, receipt: Receipt, people: list[str], members: Bools) -> float:
    drawn = answer_audit.drawn_halves(receipt, len(members))
    if sorted(map(int, audit.halves)) != drawn:
        raise ValueError(f"{audit.response} was held against other halves than those that are drawn")
    rises = [audit.halves[str(number)] for number in drawn]
    return answer_audit.agreement_of_halves(receipt.evidence.scores, people, members[drawn], rises)


def _numbers(grade: Grade, correlations: list[float], of_halves: list[float]) -> None:
    found = answer_audit.over_answers(correlations, of_halves) if correlations else (0, 0, 0)
    said = grade.mean_milli, grade.low_milli, grade.high_milli
    if any(abs(one - other) > _ROUNDING for one, other in zip(found, said, strict=True)):
        raise ValueError(
            f"the grade says {said[0]} [{said[1]}, {said[2]}] thousandths, its documents give "
            f"{found[0]} [{found[1]}, {found[2]}]"
        )
