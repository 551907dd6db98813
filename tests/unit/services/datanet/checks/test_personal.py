from __future__ import annotations

import pytest

from services.datanet.checks import CHECKS, lacking, personal
from services.datanet.checks.personal import KINDS, Personal
from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import screen
from tests.needs import needs

pytestmark = needs("presidio", "language")

BODY = "Yesterday I met John Smith. Write to john@example.org or call +44 20 7946 0958; John Smith reads both."
MASKED = "Yesterday I met [NAME 1]. Write to [EMAIL 1] or call [PHONE 1]; [NAME 1] reads both."


def look(policy: PersonalData, body: str = BODY, **more: str):
    return Personal().look(Draft(0, {"body": body, "title": "On rivers"}, **more), Policy(personal_data=policy))


@pytest.mark.parametrize("policy", (PersonalData.MASK, PersonalData.ASK, PersonalData.REFUSE))
def test_what_is_found_is_named_suggested_without_it_and_never_quoted(policy):
    found = look(policy)
    assert (found.passed, found.reason) == (False, "PERSONAL_DATA")
    assert found.suggestion == (None if policy is PersonalData.REFUSE else {"body": MASKED, "title": "On rivers"})
    assert "'body': e-mail address, name of a person (2), phone number" in found.message
    assert not {"John", "Smith", "7946"} & set(found.message.split())


def test_each_policy_says_what_to_do():
    assert len({look(policy).message for policy in (PersonalData.MASK, PersonalData.ASK, PersonalData.REFUSE)}) == 3


def test_the_suggestion_passes():
    assert look(PersonalData.MASK, MASKED).passed


def test_a_record_without_any_passes():
    assert look(PersonalData.REFUSE, "We met by the river.").passed


def test_where_it_is_not_looked_for_nothing_is_loaded(monkeypatch):
    monkeypatch.setattr(personal, "find", None)
    assert look(PersonalData.IGNORE) is None


def test_a_source_is_looked_at_and_named():
    found = look(PersonalData.MASK, "We met by the river.", source="from ann@example.org")
    assert "'(source)': e-mail address" in found.message
    assert found.suggestion == {"body": "We met by the river.", "title": "On rivers"}


def test_overlapping_finds_are_masked_once_and_whole():
    text = "mail 4111111111111111@example.org now"
    assert look(PersonalData.MASK, text).suggestion["body"] == "mail [EMAIL 1] now"


def test_kinds_are_told_apart():
    assert len(set(KINDS.values())) == len(KINDS)


def test_all_checks_look_at_a_record_in_order():
    draft = Draft(
        0, {"body": f"It was a day in which we spoke of this and that. {BODY} password: Tr0ub4dor&3 lorem ipsum"}
    )
    screened = screen(draft, Policy(languages=("de",), personal_data=PersonalData.ASK), CHECKS)
    assert [(finding.check, finding.reason) for finding in screened.findings] == [
        ("language", "LANGUAGE_NOT_TAKEN"),
        ("quality", "LOW_QUALITY"),
        ("personal_data", "PERSONAL_DATA"),
        ("secrets", "SECRET"),
    ]
    assert screened.dna.language == "en"


def test_what_the_machine_lacks_is_said(monkeypatch):
    monkeypatch.setattr("services.datanet.checks.find_spec", lambda name: None if name == "spacy" else object())
    assert lacking() == ["spacy"]
