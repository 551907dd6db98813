"""The whole evaluation as one value, and as JSON: what API, console and model card show.

Field names are stable (docs/evaluation.md says what each means); fields may be added.  Numbers that cannot be said are
null, never NaN.  This module measures nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from openledger import canonical
from services.factory.evaluation.budget import Budget
from services.factory.evaluation.exposure import Exposures
from services.factory.evaluation.forgetting import Forgetting
from services.factory.evaluation.held_out import HeldOut
from services.factory.evaluation.membership import Membership
from services.factory.evaluation.samples import Sample
from services.factory.evaluation.verbatim import Verbatim, quoted
from services.factory.evaluation.verdict import Judgement

VERSION = "openledger.evaluation.v1"


class ReportError(ValueError):
    """The document is not an evaluation report."""


@dataclass(frozen=True)
class EvaluationReport:
    """What was found, for one adapter on one base."""

    judgement: Judgement
    """Whether tuning helped."""
    warnings: tuple[str, ...]
    """What a builder should know before publishing; empty is good."""
    held_out: HeldOut
    forgetting: Forgetting
    verbatim: Verbatim
    membership: Membership
    exposure: Exposures
    samples: tuple[Sample, ...]
    """For the builder's eyes: contributors' texts."""
    seed: int
    budget: Budget
    method: str = "LoRA"
    """How the base was tuned: LoRA or DoRA; empty where it was not."""
    version: str = VERSION

    def public(self) -> EvaluationReport:
        """The same without contributors' texts: what may be published with the adapter."""
        return replace(self, samples=(), verbatim=quoted(self.verbatim, "", ""))

    def to_json(self) -> dict[str, Any]:
        """As canonical JSON can hold it."""
        document: dict[str, Any] = _plain(self)
        return document

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        return canonical.dumps(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> EvaluationReport:
        """Read `to_bytes` again.  Raises ReportError."""
        try:
            report = _adapter().validate_json(data, strict=True)
        except ValidationError as error:
            raise ReportError(f"this is not an evaluation report: {error}") from error
        if report.version != VERSION:
            raise ReportError(f"unknown version {report.version!r} of an evaluation report")
        return report


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, StrEnum) else value


@cache
def _adapter() -> TypeAdapter[EvaluationReport]:
    return TypeAdapter(EvaluationReport)
