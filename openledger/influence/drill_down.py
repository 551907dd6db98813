"""Which records of a contributor mattered most for an answer: shown to people, never paid by.

Scores compare sketches of gradients at the end of training (``record_scores`` says what that knows and what not). They
are comparable within one answer and one scorer. ``error`` says how far a score may be off because of sketching alone:
what lies within two or three of it around zero says nothing.

"fisher" and "adam-fisher" take the curvature of the records that are read together, here one contributor's, and not of
all records; a sketch's square is pi / 2 too long, which acts as more damping. "datainf" runs in the metric of tensors,
see ``metric``. This module does not know texts, permissions or money.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from openledger.influence.record_scores import Fisher, Gradients
from openledger.influence.record_sketches import RecordSketches, Rows
from openledger.influence.sketch import Answer, Floats

TOGETHER = 4096
"""Records whose curvature can be taken: one gigabyte of memory."""


@dataclass(frozen=True)
class _Way:
    """How scores of a name are made of sketches."""

    kind: str
    """Of the sketches."""
    cosine: bool = False
    """Divided by the norm of the record's step."""
    curved: Fisher | None = None


SCORERS: Mapping[str, _Way] = MappingProxyType(
    {
        "gradient-dot": _Way("gradient"),
        "gradient-cosine": _Way("gradient", cosine=True),
        "fisher": _Way("gradient", curved=Fisher()),
        "datainf": _Way("tensor"),
        "adam-dot": _Way("adam"),
        "adam-cosine": _Way("adam", cosine=True),
        "adam-fisher": _Way("adam", curved=Fisher()),
        "less": _Way("less", cosine=True),
    }
)
"""The scorers of ``record_scores`` by their names there."""

USUAL: Mapping[str, str] = MappingProxyType(
    {"gradient": "gradient-cosine", "adam": "adam-cosine", "tensor": "datainf", "less": "less"}
)
"""Of a kind of sketches the scorer that is taken where none is asked for."""

DEFAULT = USUAL["adam"]
"""The one that agrees best with really retraining (``bench/lds``), of those that look at the end of training."""


class DrillDownError(ValueError):
    """What was asked cannot be answered from these sketches. The message says why."""


@dataclass(frozen=True)
class RecordScore:
    """leaf: the record's number in the file of sketches; score: positive where it made the answer more likely.

    error: see above; None where curvature is taken, and how errors go through it is not known.
    """

    leaf: int
    score: float
    error: float | None


def sketch_answer(sketches: RecordSketches, gradient: npt.NDArray[np.floating]) -> Answer:
    """The sketch of an answer's gradient [P], as these records were sketched. Raises SketchError."""
    header, metric = sketches.header, sketches.metric
    if gradient.shape != metric.exponents.shape:
        raise DrillDownError(
            f"the answer's gradient has shape {gradient.shape}, the sketches' {metric.exponents.shape}"
        )
    norm = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
    return replace(Answer.of(metric.answers(gradient[None])[0], header.projection), norm=norm)


def score(rows: Rows, answer: Answer, scorer: str) -> Floats:
    """Scores [n] of records read together. Raises KeyError for an unknown scorer, DrillDownError for too many."""
    way = SCORERS[scorer]
    if way.curved is None:
        dots = answer.dots(rows.signs)
        return _over_norms(dots, rows, answer) if way.cosine else dots
    if len(rows.leaves) > TOGETHER:
        raise DrillDownError(f"{scorer} takes at most {TOGETHER} records of a contributor, not {len(rows.leaves)}")
    read_in_blocks = cast(Any, rows.signs)
    scores: Floats = way.curved(Gradients(answer.values[None], read_in_blocks, (rows.signs.shape[1],)))[0]
    return scores


def top_records(
    sketches: RecordSketches, answer: Answer, contributors: Iterable[str], count: int = 10, scorer: str = DEFAULT
) -> dict[str, list[RecordScore]]:
    """For each contributor the ``count`` records with the highest scores, highest first; equal ones by leaf.

    answer: from ``sketch_answer``. A contributor without records has none. Only these contributors' rows are read, 64
    at a time. Raises DrillDownError for a scorer that does not fit the sketches, or a count below one.
    """
    fitting = [name for name, way in SCORERS.items() if way.kind == sketches.header.kind]
    if scorer not in fitting:
        raise DrillDownError(f"these sketches do not know the scorer {scorer!r}; they know {', '.join(fitting)}")
    if count < 1:
        raise DrillDownError(f"the number of records must be at least 1, not {count}")
    return {each: _top(sketches.of(each), answer, count, scorer) for each in contributors}


def _top(rows: Rows, answer: Answer, count: int, scorer: str) -> list[RecordScore]:
    scores, way = score(rows, answer, scorer), SCORERS[scorer]
    best = np.argsort(-scores, kind="stable")[:count]
    chosen = rows[best]
    errors = answer.errors(chosen.signs)
    if way.cosine:
        errors = _over_norms(errors, chosen, answer)
    found = zip(chosen.leaves.tolist(), scores[best].tolist(), errors.tolist(), strict=True)
    return [RecordScore(leaf, value, None if way.curved else error) for leaf, value, error in found]


def _over_norms(values: Floats, rows: Rows, answer: Answer) -> Floats:
    norms = rows.norms.astype(np.float64) * answer.norm
    quotients = np.zeros(len(values))
    np.divide(values, norms, out=quotients, where=norms > 0)
    return quotients
