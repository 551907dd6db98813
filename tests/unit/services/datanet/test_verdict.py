from __future__ import annotations

from dataclasses import replace

import pytest

from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding
from services.datanet.verdict import Verdict, verdict

FINE = Finding("language", passed=True, value="en")
NOTED = Finding("quality", passed=True, message="noted", value="symbols")
PERSONAL = Finding("personal_data", passed=False, reason="PERSONAL_DATA", suggestion={"text": "[NAME 1]"})
BARE = replace(PERSONAL, suggestion=None)
SECRET = Finding("secrets", passed=False, reason="SECRET")


@pytest.mark.parametrize(
    ("policy", "findings", "what", "why"),
    (
        (PersonalData.ASK, [], Verdict.TAKE, None),
        (PersonalData.ASK, [FINE, NOTED], Verdict.TAKE, None),
        (PersonalData.ASK, [FINE, PERSONAL], Verdict.ASK, PERSONAL),
        (PersonalData.ASK, [PERSONAL, SECRET], Verdict.REFUSE, SECRET),
        (PersonalData.MASK, [FINE, PERSONAL, SECRET], Verdict.REFUSE, SECRET),
        (PersonalData.MASK, [FINE, PERSONAL], Verdict.REFUSE, PERSONAL),
        (PersonalData.REFUSE, [PERSONAL], Verdict.REFUSE, BARE),
        (PersonalData.IGNORE, [PERSONAL, FINE], Verdict.TAKE, None),
        (PersonalData.IGNORE, [SECRET], Verdict.REFUSE, SECRET),
    ),
)
def test_what_follows_depends_on_the_policy(policy, findings, what, why):
    assert verdict(findings, Policy(personal_data=policy)) == (what, why)
