from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.datanet.checks.language import Language, known, language, primary
from services.datanet.draft import Draft
from services.datanet.model import Policy
from tests.needs import needs

pytestmark = needs("language")

TEXTS = {
    "en": "The patient was seen again after two weeks, and the fever had gone down by then.",
    "de": "Der Patient wurde nach zwei Wochen noch einmal untersucht, und das Fieber war gesunken.",
    "fr": "Le patient a \u00e9t\u00e9 revu apr\u00e8s deux semaines, et la fi\u00e8vre avait alors diminu\u00e9.",
    "es": "El paciente fue examinado de nuevo despu\u00e9s de dos semanas y la fiebre hab\u00eda bajado.",
    "zh": "患者两周后再次就诊 当时发烧已经退去 病情明显好转 医生建议继续观察 "
    "两天后体温完全恢复正常 食欲也好了许多 家人都很高兴",
}


def look(text: str, *languages: str):
    return Language().look(Draft(0, {"a": text}), Policy(languages=languages))


@pytest.mark.parametrize(("code", "text"), TEXTS.items())
def test_a_sentence_is_told_by_its_language(code, text):
    assert language(text) == code
    assert look(text, code).passed
    assert look(text).value == code


def test_another_language_is_refused_by_name():
    found = look(TEXTS["de"], "en", "fr-CA")
    assert (found.passed, found.reason, found.value) == (False, "LANGUAGE_NOT_TAKEN", "de")
    assert "'de'" in found.message
    assert "en, fr-CA" in found.message
    assert "Fieber" not in found.message


def test_a_region_takes_its_language_and_a_group_its_members():
    assert look(TEXTS["de"], "de-AT").passed
    assert look("Pasienten ble unders\u00f8kt igjen etter to uker, og da hadde feberen g\u00e5tt ned.", "nb").passed


@pytest.mark.parametrize("text", ("", "HP:0000003", "Fieber", "2 + 2 = 4", "Ebstein-Anomalie"))
def test_what_is_too_short_to_tell_is_never_refused(text):
    found = look(text, "en")
    assert found.passed
    assert found.value == "und"


def test_a_policy_with_a_language_that_cannot_be_told_refuses_nothing():
    assert "tlh" not in known()
    assert look(TEXTS["de"], "en", "tlh").passed


@given(st.text(max_size=200))
def test_any_text_has_a_language_or_none(text):
    assert language(text) == "und" or primary(language(text)) in known()
