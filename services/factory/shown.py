"""A value that somebody sent, as it is told back in a message: never long, whatever it is."""

from __future__ import annotations

from typing import Any

MOST = 100
"""Characters.  A refusal travels in the trailers of an answer, which hold a few kilobytes."""


def shown(value: Any) -> str:
    """Its representation, cut short."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number that is too long to show"
    return text if len(text) <= MOST else text[:MOST] + "..."


def listed(values: list[Any]) -> str:
    """Several, separated by commas, of which not all need be there."""
    words = ", ".join(value if isinstance(value, str) else shown(value) for value in values[:MOST])
    return words if len(words) <= MOST else words[:MOST] + "..."
