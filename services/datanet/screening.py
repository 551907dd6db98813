"""What is said to the workers that look at records (`screening_task.py`), and what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding

TASK = "services.datanet.screening_task:work"


def ask(drafts: Sequence[Draft], policy: Policy) -> bytes:
    """Texts and sources of drafts, in order, and of the policy what checks obey."""
    obeyed = {"languages": policy.languages, "personal_data": policy.personal_data}
    return json.dumps({"policy": obeyed, "drafts": [[dict(d.fields), d.source] for d in drafts]}).encode()


def asked(question: bytes) -> tuple[list[Draft], Policy]:
    """Of `ask`; drafts are numbered from 0."""
    said = json.loads(question)
    languages, personal_data = tuple(said["policy"]["languages"]), PersonalData(said["policy"]["personal_data"])
    drafts = [Draft(index, fields, source) for index, (fields, source) in enumerate(said["drafts"])]
    return drafts, Policy(languages=languages, personal_data=personal_data)


def answer(findings: Sequence[Sequence[Finding]]) -> bytes:
    """Findings of each draft, in order."""
    return json.dumps([[asdict(finding) for finding in of_one] for of_one in findings]).encode()


def answered(said: bytes) -> list[tuple[Finding, ...]]:
    """Of `answer`."""
    found: list[list[dict[str, Any]]] = json.loads(said)
    return [tuple(Finding(**finding) for finding in of_one) for of_one in found]
