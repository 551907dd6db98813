from __future__ import annotations

import pytest

from services.datanet import erase
from services.datanet.members import Member, Role, Standing, State
from services.datanet.model import Datanet, Definition, Record, RecordState
from services.kit.auth import Principal
from services.kit.errors import Fault

ADA, BOB, OWNER = ("0x" + letter * 40 for letter in "abc")
DATANET = Datanet("terms", OWNER, Definition("Terms", "MIT"), 1, 1, 1, 1, 1)
RECORD = Record("r", "terms", 1, ADA, "MIT", b"c" * 32, 9, 1)


def standing(who: str) -> Standing:
    validator = Member("terms", who, Role.VALIDATOR, State.ACTIVE, 1, 1)
    return Standing(DATANET, Principal(who), validator)


def refusal(check, who: str, reason: str = "", state: RecordState = RecordState.ACCEPTED) -> str | None:
    record = Record(**(vars(RECORD) | {"state": state}))
    try:
        check(standing(who), record, reason)
    except Fault as fault:
        return fault.reason
    return None


@pytest.mark.parametrize(
    ("who", "reason", "withdrawing", "erasing"),
    (
        (ADA, "", None, None),
        (OWNER, "", None, "REASON_MISSING"),
        (OWNER, " \n", None, "REASON_MISSING"),
        (OWNER, "a court's order", None, None),
        (BOB, "I want to", "NOT_YOURS", "NOT_YOURS"),
        (ADA, "be\x07ep", "INVALID_FIELD", "INVALID_FIELD"),
    ),
)
def test_who_may_take_a_record_back(who, reason, withdrawing, erasing):
    assert refusal(erase.check_withdrawal, who, reason) == withdrawing
    assert refusal(erase.check_erasure, who, reason) == erasing


def test_what_is_withdrawn_can_be_erased_and_nothing_else_happens_twice():
    assert refusal(erase.check_withdrawal, ADA, state=RecordState.WITHDRAWN) == "RECORD_WITHDRAWN"
    assert refusal(erase.check_erasure, ADA, state=RecordState.WITHDRAWN) is None
    for check in (erase.check_withdrawal, erase.check_erasure):
        assert refusal(check, ADA, state=RecordState.ERASED) == "RECORD_ERASED"


def test_others_are_told_who_erased_it_and_not_why():
    assert erase.told(standing(ADA), RECORD) == erase.BY_CONTRIBUTOR
    assert erase.told(standing(OWNER), RECORD) == erase.BY_OWNER
