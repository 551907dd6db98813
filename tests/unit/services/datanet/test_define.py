from __future__ import annotations

from dataclasses import replace

import pytest

from services.datanet import define
from services.datanet.model import Datanet, Definition, Field, Kind, Policy, Visibility
from services.kit.errors import Fault

GOOD = Definition("Terms", "CC-BY-4.0", fields=(Field("term", required=True),), policy=Policy(2, 100))
EMPTY = Datanet("terms", "0x" + "a" * 40, GOOD, 0, 0, 3, 1, 1)
FULL = replace(EMPTY, record_count=1)


def reason(call, *arguments) -> str:
    with pytest.raises(Fault) as caught:
        call(*arguments)
    return caught.value.reason


@pytest.mark.parametrize(
    ("given", "normal"),
    (
        ("CC-BY-4.0", "CC-BY-4.0"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("mit or (apache-2.0 and CC0-1.0)", "MIT OR (Apache-2.0 AND CC0-1.0)"),
        ("GPL-3.0-only WITH Classpath-exception-2.0", "GPL-3.0-only WITH Classpath-exception-2.0"),
        ("LicenseRef-HPO", "LicenseRef-HPO"),
        ("LicenseRef-HPO AND CC-BY-4.0", "LicenseRef-HPO AND CC-BY-4.0"),
        ("DocumentRef-terms:LicenseRef-a.b", "DocumentRef-terms:LicenseRef-a.b"),
    ),
)
def test_licences_are_spdx_in_their_official_spelling(given, normal):
    assert define.spdx(given) == normal


@pytest.mark.parametrize(
    "given",
    ("CC-BY-9.9", "free for all", "", "  ", "(MIT", "MIT MIT", "LicenseRef-", "$", "MIT WITH MIT", "NONE", "MIT\x00"),
)
def test_what_is_no_licence_is_refused(given):
    assert reason(define.spdx, given) == "NOT_A_LICENCE"


def test_a_datanet_without_fields_has_one_for_text():
    assert define.checked(replace(GOOD, fields=())).fields == (Field("text", "The text.", required=True),)


@pytest.mark.parametrize(
    "broken",
    (
        {"display_name": "  "},
        {"display_name": "Terms\x00"},
        {"description": "bell \x07"},
        {"licence_notice": "\x9f"},
        {"tags": ("a", "a")},
        {"tags": ("",)},
        {"tags": ("x" * 64,)},
        {"fields": (Field("Term"),)},
        {"fields": (Field("term.name"),)},
        {"fields": (Field("a"), Field("a"))},
        {"fields": (Field("a", "\x01"),)},
        {"display_name": "Terms\u202egpj"},
        {"tags": ("\u2066a",)},
        {"policy": Policy(10, 9)},
    ),
    ids=str,
)
def test_a_definition_that_cannot_stand_names_its_field(broken):
    with pytest.raises(Fault) as caught:
        define.checked(replace(GOOD, **broken))
    assert caught.value.reason == "INVALID_FIELD"
    assert caught.value.fields[0][0] == f"datanet.{next(iter(broken))}"


def test_only_what_is_masked_changes():
    draft = Definition("Words", "MIT", description="new", policy=Policy(5, 50))
    changed = define.revised(FULL, draft, ["display_name", "policy"], "")
    assert changed == replace(GOOD, display_name="Words", policy=Policy(5, 50))


def test_a_change_of_something_older_is_refused():
    assert reason(define.revised, FULL, GOOD, ["tags"], "r2") == "ETAG_MISMATCH"
    assert define.revised(FULL, GOOD, ["display_name"], "r3") == GOOD


@pytest.mark.parametrize("path", ("name", "owner", "record_count", "policy.max_chars", "*", "no_such_thing"))
def test_what_is_not_the_owners_to_change_is_refused(path):
    assert reason(define.revised, EMPTY, GOOD, [path], "") == "NOT_CHANGEABLE"


@pytest.mark.parametrize("path", ("licence", "fields"))
def test_terms_are_fixed_once_records_were_given_under_them(path):
    draft = replace(GOOD, licence="MIT", fields=(Field("word"),))
    assert getattr(define.revised(EMPTY, draft, [path], ""), path) == getattr(draft, path)
    assert reason(define.revised, FULL, draft, [path], "") == "RECORDS_DEPEND_ON_IT"


def test_an_empty_mask_changes_nothing_and_says_so():
    assert reason(define.revised, EMPTY, GOOD, [], "") == "INVALID_FIELD"


def test_a_change_is_checked_like_a_beginning():
    assert reason(define.revised, EMPTY, replace(GOOD, licence="gibberish"), ["licence"], "") == "NOT_A_LICENCE"


@pytest.mark.parametrize("languages", (("Deutsch",), ("d",), ("de_DE",), ("",), ("de", "x" * 9)), ids=str)
def test_what_is_no_language_is_refused(languages):
    found = replace(GOOD, policy=Policy(languages=languages))
    assert reason(define.checked, found, {"policy.languages"}) == "INVALID_FIELD"


def test_languages_are_bcp_47_tags():
    said = replace(GOOD, policy=Policy(languages=("de", "pt-BR", "zh-Hant-TW", "gsw")))
    assert define.checked(said, {"policy.languages"}).policy == said.policy


def test_more_than_the_reviewers_who_are_asked_cannot_agree():
    offered = {"policy.reviews", "policy.reviewers"}
    assert reason(define.checked, replace(GOOD, policy=Policy(reviews=3, reviewers=2)), offered) == "INVALID_FIELD"
    define.checked(replace(GOOD, policy=Policy(reviews=3, reviewers=3)), offered)


def test_a_text_may_turn_its_direction_where_it_is_no_name():
    define.checked(replace(GOOD, description="\u2067\u05e9\u05dc\u05d5\u05dd\u2069"))


def test_a_private_datanet_with_records_stays_private_and_others_open_and_close():
    private, public = replace(GOOD, visibility=Visibility.PRIVATE), replace(GOOD, visibility=Visibility.PUBLIC)
    at = replace(FULL, definition=private)
    assert reason(define.revised, at, public, ["visibility"], "") == "RECORDS_DEPEND_ON_IT"
    assert define.revised(at, private, ["visibility"], "") == private
    assert define.revised(replace(EMPTY, definition=private), public, ["visibility"], "") == public
    assert define.revised(FULL, private, ["visibility"], "") == private
    assert reason(define.revised, FULL, replace(GOOD, kind=Kind.IMAGE), ["kind"], "") == "NOT_CHANGEABLE"
