"""What is said to the workers that look at records (`screening_task.py`), and what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding

TASK_MODULE = "services.datanet.screening_task"
TASK = f"{TASK_MODULE}:work"


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


def answered(said: bytes) -> list[tuple[Finding, ...]]:
    """Of `answer`.  Raises `ValueError` for what is none: a worker may have been taken over by what it looked at."""
    found: list[list[dict[str, Any]]] = json.loads(said)
    try:
        return [tuple(_finding(finding) for finding in of_one) for of_one in found]
    except (TypeError, AttributeError) as error:
        raise ValueError(f"no findings: {error}") from None


def _finding(said: dict[str, Any]) -> Finding:
    suggestion = said.get("suggestion")
    texts = [text for name, text in said.items() if name not in {"passed", "suggestion"}]
    texts += [] if suggestion is None else suggestion.values()
    if not isinstance(said.get("passed"), bool) or not all(isinstance(text, str) for text in texts):
        raise TypeError("of another form")
    return Finding(**said)
