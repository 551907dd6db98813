"""What follows from what checks found in a record, under the policy of its datanet."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding


class Verdict(StrEnum):
    """ASK: it waits until its contributor says whether it is taken as it is, or as suggested."""

    TAKE = "take"
    ASK = "ask"
    REFUSE = "refuse"


def verdict(findings: Sequence[Finding], policy: Policy) -> tuple[Verdict, Finding | None]:
    """What to do with the record, and the finding that decided it: the first that refuses, else the one to ask of."""
    failed = [finding for finding in findings if not finding.passed]
    asked = [finding for finding in failed if _is_asked(finding, policy)]
    for finding in failed:
        if finding not in asked:
            return Verdict.REFUSE, finding
    return (Verdict.ASK, asked[0]) if asked else (Verdict.TAKE, None)


def _is_asked(finding: Finding, policy: Policy) -> bool:
    return finding.reason == "PERSONAL_DATA" and policy.personal_data is PersonalData.ASK
