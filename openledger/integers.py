"""Statistics of whole numbers in whole numbers: the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt


def root_mean_square(values: Sequence[int]) -> int:
    """Rounded up; 0 of nothing."""
    if not any(values):
        return 0
    return isqrt(-(-sum(value * value for value in values) // len(values)) - 1) + 1
