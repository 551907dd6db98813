"""What is said of one method: its scores, and what it costs to have them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.lds.study import Floats


@dataclass(frozen=True, eq=False)
class Arm:
    """One method of one library."""

    library: str
    method: str
    scores: Floats
    """Of each query and contributor [Q, C]; positive: made the answer likelier."""
    prepare_seconds: float
    """CPU time before the first answer, beside training."""
    answer_seconds: float
    """CPU time of one answer that is asked about alone."""
    megabytes: float
    """Peak memory of both, beside what was there before."""
    kept: int
    """Bytes that have to be kept to score an answer, beside base, adapter and texts."""
    grows_with: str
    """What `kept` is proportional to: records, contributors, tokens, or nothing (of the data)."""
    note: str = ""


@dataclass(frozen=True)
class Failure:
    """A method that could not be measured, and why, in its library's own words."""

    library: str
    method: str
    error: str
