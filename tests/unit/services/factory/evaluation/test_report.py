from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any, get_args, get_type_hints

import pytest

from openledger import canonical
from services.factory.evaluation.interval import Estimate
from services.factory.evaluation.membership import Membership
from services.factory.evaluation.report import EvaluationReport, ReportError
from tests.needs import ROOT
from tests.unit.services.factory.evaluation.examples_of_reports import SECRET, report


def test_it_survives_its_bytes() -> None:
    assert EvaluationReport.from_bytes(report().to_bytes()) == report()
    assert canonical.loads(report().to_bytes()) == report().to_json()


def test_reports_of_before_there_was_dora_are_read() -> None:
    document = report().to_json()
    del document["method"]
    assert EvaluationReport.from_bytes(canonical.dumps(document)).method == "LoRA"


def test_the_document_has_words_and_numbers() -> None:
    document = report().to_json()
    assert document["version"] == "openledger.evaluation.v1"
    assert document["judgement"]["verdict"] == "clearly better"
    assert document["held_out"]["figures"]["loss_change"] == {"value": -0.5, "low": -0.6, "high": -0.4}
    assert document["forgetting"]["loss_after"] == {"value": 4.2, "low": None, "high": None}
    assert document["warnings"] == ["It forgets."]


def test_no_number_that_json_lacks() -> None:
    odd = Membership(1, 1, Estimate(math.nan), Estimate(math.inf), Estimate(-math.inf), False, "")
    document = report(membership=odd).to_json()
    assert [document["membership"][name]["value"] for name in ("gap_before", "gap_after", "auc")] == [None] * 3
    json.dumps(document, allow_nan=False)


def test_what_is_published_holds_nobodys_text() -> None:
    assert SECRET.encode() in report().to_bytes()
    public = report().public()
    assert SECRET.encode() not in public.to_bytes()
    assert b"records/" not in public.to_bytes()
    assert public.verbatim.trained == report().verbatim.trained
    assert EvaluationReport.from_bytes(public.to_bytes()) == public


@pytest.mark.parametrize(
    "change",
    (
        {"held_out": None},
        {"seed": "7"},
        {"judgement": {"verdict": "fine", "words": ""}},
        {"version": "openledger.evaluation.v9"},
        {"budget": {"trivia": -1}},
    ),
)
def test_other_documents_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ReportError):
        EvaluationReport.from_bytes(json.dumps(report().to_json() | change).encode())


@pytest.mark.parametrize("data", (b"", b"[]", b"\xff", b"null"))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ReportError):
        EvaluationReport.from_bytes(data)


def test_every_field_is_documented() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z_]+)`", text))
    assert fields_of(EvaluationReport) <= documented


def fields_of(kind: Any) -> set[str]:
    """Names of all fields, however deep."""
    if not dataclasses.is_dataclass(kind):
        return set().union(*(fields_of(inner) for inner in get_args(kind)))
    hints = get_type_hints(kind)
    return set(hints).union(*(fields_of(hints[field.name]) for field in dataclasses.fields(kind)))
