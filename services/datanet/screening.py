"""What is said to the workers that look at records (`screening_task.py`), and what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from openledger import canonical
from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding

TASK_MODULE = "services.datanet.screening_task"
TASK = f"{TASK_MODULE}:work"

LONGEST_ANSWER = 8 * 2**20
"""Bytes about one batch, or one record of a MiB, with what is suggested for it."""
_FINDINGS = 16
_LONGEST = {"check": 40, "reason": 40, "value": 1000, "message": 8000}
_MASKS = 12
"""A mask may be so many times as long as what it masks."""


def ask(drafts: Sequence[Draft], policy: Policy) -> bytes:
    """Texts and sources of drafts, in order, and of the policy what checks obey."""
    obeyed = {"languages": policy.languages, "personal_data": policy.personal_data, "quality": policy.quality}
    return json.dumps({"policy": obeyed, "drafts": [[dict(d.fields), d.source] for d in drafts]}).encode()


def asked(question: bytes) -> tuple[list[Draft], Policy]:
    """Of `ask`; drafts are numbered from 0."""
    said = json.loads(question)
    policy = Policy(
        languages=tuple(said["policy"]["languages"]),
        personal_data=PersonalData(said["policy"]["personal_data"]),
        quality=said["policy"]["quality"],
    )
    drafts = [Draft(index, fields, source) for index, (fields, source) in enumerate(said["drafts"])]
    return drafts, policy


def answer(findings: Sequence[Sequence[Finding]]) -> bytes:
    """Findings of each draft, in order."""
    return json.dumps([[asdict(finding) for finding in of_one] for of_one in findings]).encode()


def answered(said: bytes, drafts: Sequence[Draft]) -> list[tuple[Finding, ...]]:
    """Of `answer` about these drafts.

    Raises `ValueError` for what is none: a worker may have been taken over by what it looked at, and what it says is
    kept and told.
    """
    try:
        found: list[list[dict[str, Any]]] = canonical.parse_json(said)
        if len(found) != len(drafts) or any(len(of_one) > _FINDINGS for of_one in found):
            raise ValueError(f"{len(found)} answers about {len(drafts)} records, or too many about one")
        return [tuple(_finding(f, draft) for f in of_one) for of_one, draft in zip(found, drafts, strict=True)]
    except (TypeError, AttributeError) as error:
        raise ValueError(f"no findings: {error}") from None


def _finding(said: dict[str, Any], draft: Draft) -> Finding:
    """Raises what `answered` takes for no answer."""
    finding = Finding(**said)
    if not isinstance(finding.passed, bool):
        raise TypeError("of another form")
    for name, most in _LONGEST.items():
        _check_text(getattr(finding, name), most)
    if finding.suggestion is not None:
        if not finding.suggestion.keys() <= draft.fields.keys():
            raise ValueError("it suggests fields that the record has not")
        for name, text in finding.suggestion.items():
            _check_text(text, _MASKS * (len(draft.fields[name]) + 1))
    return finding


def _check_text(text: object, most: int) -> None:
    if not isinstance(text, str) or len(text) > most:
        raise TypeError("no text, or too long")
    text.encode()  # there are strings of JSON that are no text
