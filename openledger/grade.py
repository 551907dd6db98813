"""How far a model's scores are believed: the grade that its audited answers give it, and what follows for the split.

A grade is a document, published under its SHA-256 and signed by who measured; receipts that are split by less than
full belief name it.  Whole numbers: correlations are in thousandths.  Nothing here measures anything; whether the
numbers follow from the documents is for `openledger.verify_grade`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from openledger import canonical, names, signed_document
from openledger.split import BASIS_POINTS, Rule

VERSION = "openledger.grade.v2"
UNSIGNED = "openledger.grade.v1"
"""Says neither who measured nor how many answers are drawn; is read, and not made any more."""
FEWEST_ANSWERS = 20
"""Below, an interval over answers means little, and the scores are believed."""
MOST_ANSWERS = 1_000
"""A grade is over the newest."""


@dataclass(frozen=True)
class Grade:
    """Rank correlation of paid scores with leaving contributors out: its mean over answers, and its 95 % interval.

    `documents`: SHA-256 of the answers' measurements (`openledger.answer_audit.v1`), which it is computed from, newest
    first.  `audit_bps`: of 10,000 answers so many are drawn; None where that is not said.
    """

    revision: str
    mean_milli: int
    low_milli: int
    high_milli: int
    documents: tuple[str, ...]
    audit_bps: int | None = None
    signer: str = ""
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        """The document."""
        document = asdict(self) | {"version": VERSION, "documents": list(self.documents)}
        if self.audit_bps is None:
            document["version"] = UNSIGNED
            for name in ("audit_bps", "signer", "signature"):
                del document[name]
        return document

    def dumps(self) -> bytes:
        """Canonical bytes: what is published."""
        return canonical.dumps(self.to_json())

    def digest(self) -> str:
        """Hex SHA-256 of the canonical bytes."""
        return canonical.sha256(self.dumps())


def sign(grade: Grade, private_key: str) -> Grade:
    """The grade with signer and signature set."""
    return parse(canonical.dumps(signed_document.sign(grade.to_json(), private_key)))


def check_signature(grade: Grade) -> None:
    """Raises `ValueError` unless the grade is signed by the signer that it names."""
    signed_document.check(grade.to_json())


def parse(data: bytes) -> Grade:
    """A grade from its canonical bytes.  Raises `ValueError` that says what is wrong with them."""
    try:
        document = canonical.loads(data)
        version = document.pop("version")
        grade = Grade(**document | {"documents": tuple(document["documents"])})
        if version != grade.to_json()["version"] or version not in (VERSION, UNSIGNED):
            raise ValueError(f"not an {VERSION} document")
        numbers = (grade.mean_milli, grade.low_milli, grade.high_milli)
        if not all(type(number) is int and -1000 <= number <= 1000 for number in numbers):
            raise ValueError("correlations are whole thousandths from -1000 to 1000")
        if grade.audit_bps is not None and not (type(grade.audit_bps) is int and 0 <= grade.audit_bps <= BASIS_POINTS):
            raise ValueError(f"the answers that are drawn are a whole number of {BASIS_POINTS}")
        if not all(isinstance(text, str) for text in (grade.signer, grade.signature, *grade.documents)):
            raise ValueError("signer, signature and documents are texts")
        names.match("adapters/*/revisions/*", grade.revision)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a grade: {error!r}") from error
    if grade.dumps() != data:
        raise ValueError("the grade has fields that do not belong there")
    return grade


def trust_bps(grade: Grade | None, rule: Rule) -> int:
    """The part of what belongs to the data that is divided by the scores; the rest is `unattributed`.

    All of it, unless the whole interval lies below the rule's floor: then the mean's part of the floor.
    """
    if grade is None or len(grade.documents) < FEWEST_ANSWERS or grade.high_milli >= rule.floor_milli:
        return BASIS_POINTS
    return max(0, grade.mean_milli) * BASIS_POINTS // rule.floor_milli
