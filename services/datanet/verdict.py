"""What follows from what checks found in a record, under the policy of its datanet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding

PERSONAL_DATA = "PERSONAL_DATA"


class Verdict(StrEnum):
    """ASK: it waits until its contributor says whether it is taken as it is, or as suggested."""

    TAKE = "take"
    ASK = "ask"
    REFUSE = "refuse"


def verdict(findings: Sequence[Finding], policy: Policy) -> tuple[Verdict, Finding | None]:
    """What to do with the record, and the finding that decided it: the first that nothing suggested would help.

    A suggestion is left where the policy has it taken instead.
    """
    failed = [finding for finding in findings if not finding.passed]
    others = [finding for finding in failed if finding.reason != PERSONAL_DATA]
    if others:
        return Verdict.REFUSE, others[0]
    if not failed or policy.personal_data is PersonalData.IGNORE:
        return Verdict.TAKE, None
    if policy.personal_data is PersonalData.ASK:
        return Verdict.ASK, failed[0]
    masked = failed[0].suggestion if policy.personal_data is PersonalData.MASK else None
    return Verdict.REFUSE, replace(failed[0], suggestion=masked)
