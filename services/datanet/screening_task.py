"""The task of the workers that look at records.  Only they import this: it loads all models of the checks.

At once, and not with the first record: a worker gives up the right to read files once it is ready, and what takes
seconds is not to count as the time of a record.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from services.datanet import screening
from services.datanet.checks import CHECKS
from services.datanet.checks.quality import Quality
from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding, screen

_UNUSED = ("torch", "transformers")
"""What spaCy and Presidio import where it is there, and no check uses: half the time, and 300 of 580 MB."""


def work(question: bytes) -> bytes:
    """Findings of each draft (`screening.py`)."""
    drafts, policy = screening.asked(question)
    return screening.answer([_findings(draft, policy) for draft in drafts])


def _findings(draft: Draft, policy: Policy) -> tuple[Finding, ...]:
    return screen(draft, policy, [check for check in CHECKS if policy.quality or check.id != Quality.id]).findings


@contextmanager
def _unseen(*packages: str) -> Iterator[None]:
    """As if these were not installed, unless they are loaded already."""
    hidden = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None keeps a module from being imported
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]


with _unseen(*_UNUSED):
    _findings(
        Draft(0, {"text": "Yesterday we met Ann Lee, who has the address ann@example.org, and spoke of the weather."}),
        Policy(personal_data=PersonalData.MASK),
    )
