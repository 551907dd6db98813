from __future__ import annotations

import re
from pathlib import Path

import services.factory
from services.factory.failures import REASONS

SERVICE = Path(services.factory.__file__).parent
DOCUMENT = (SERVICE.parents[1] / "docs/errors/factory.md").read_text()
_FAULT = re.compile(
    r'(?:invalid|not_found|exists|denied|precondition|unavailable|exhausted|LicenceRefused)\(\s*"([A-Z_]+)"'
)
_JOB = re.compile(r'JobFailed\(\s*"([A-Z_]+)"')


def source():
    return "\n".join(file.read_text() for file in sorted(SERVICE.glob("*.py")))


def documented(title):
    [part] = [part for part in DOCUMENT.split("\n## ") if part.startswith(title)]
    cells = re.findall(r"^\| (`[A-Z_`, ]+) \|", part, re.MULTILINE)
    return {reason for cell in cells for reason in re.findall(r"[A-Z_]{3,}", cell)}


def test_every_reason_of_a_call_is_documented_and_every_documented_one_exists():
    of_reading = set(_JOB.findall((SERVICE / "read.py").read_text() + (SERVICE / "merge.py").read_text()))
    raised = set(_FAULT.findall(source())) | of_reading
    assert raised - {"INVALID_FIELD"} == documented("Answers to calls")
    assert len(raised) > 20


def test_every_reason_of_a_failure_is_documented():
    failures = set(_JOB.findall(source())) | set(REASONS.values())
    assert failures <= documented("Why a fine-tune failed")


def test_every_caution_is_documented_and_every_documented_one_exists():
    assert set(re.findall(r'Caution\(\s*"([A-Z_]+)"', source())) == documented("What should be known")


def test_every_reason_to_leave_a_record_out_is_documented():
    assert set(re.findall(r'RecordError\(\s*"([A-Z_]+)"', source())) <= documented("Why a record was left out")
