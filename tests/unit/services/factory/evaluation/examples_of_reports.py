"""Reports made up by hand, for tests of what is done with reports."""

from __future__ import annotations

from typing import Any

from services.factory.evaluation.budget import Budget
from services.factory.evaluation.exposure import CanaryExposure, Exposures
from services.factory.evaluation.forgetting import Forgetting
from services.factory.evaluation.held_out import ContributorFigures, Figures, HeldOut
from services.factory.evaluation.interval import Estimate
from services.factory.evaluation.membership import Membership
from services.factory.evaluation.report import EvaluationReport
from services.factory.evaluation.samples import Sample
from services.factory.evaluation.verbatim import Spans, Verbatim
from services.factory.evaluation.verdict import Judgement, Verdict

SECRET = "The text of a contributor"


def figures(records: int = 16) -> Figures:
    loss, right = Estimate(3.0, 2.8, 3.2), Estimate(0.4, 0.3, 0.5)
    after, now = Estimate(2.5, 2.3, 2.7), Estimate(0.5, 0.4, 0.6)
    return Figures(records, loss, after, Estimate(-0.5, -0.6, -0.4), right, now, Estimate(0.1, 0.05, 0.15))


def nothing() -> Figures:
    return Figures(0, *[Estimate()] * 6)


def report(**changes: Any) -> EvaluationReport:
    fields: dict[str, Any] = {
        "judgement": Judgement(Verdict.CLEARLY_BETTER, "It is likelier to answer as it should."),
        "warnings": ("It forgets.",),
        "held_out": HeldOut(figures(), 0, 1, (ContributorFigures("0xa", figures(9)),)),
        "forgetting": Forgetting(
            40, Estimate(4.0, 3.5, 4.5), Estimate(4.2), Estimate(0.2, 0.1, 0.3), True, "It forgets.", "Of a corpus"
        ),
        "verbatim": Verbatim(
            Spans(9, 2.5, 20, 1), Spans(9, 2.0, 8, 0), Spans(9, 2.0, 7, 0), 16, "records/1", SECRET, False, "Nothing."
        ),
        "membership": Membership(9, 9, Estimate(0.1), Estimate(0.2), Estimate(0.6, 0.4, 0.8), False, "A coin."),
        "exposure": Exposures(1, 64, (CanaryExposure(1, 2, 5.0),), 0.03, False, "Little."),
        "samples": (Sample("records/2", SECRET, SECRET, SECRET, SECRET),),
        "seed": 7,
        "budget": Budget(),
    }
    return EvaluationReport(**(fields | changes))
