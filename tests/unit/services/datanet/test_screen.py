from __future__ import annotations

from dataclasses import dataclass

from openledger import records
from services.datanet.draft import Draft
from services.datanet.model import Policy
from services.datanet.screen import Finding, dna, screen

DRAFT = Draft(0, {"term": "Fever", "text": "A high  temperature."}, "a source")


@dataclass(frozen=True)
class Says:
    """A check that always finds the same."""

    id: str
    found: Finding | None
    seen: list[str]

    def look(self, draft: Draft, policy: Policy) -> Finding | None:
        self.seen.append(self.id)
        return self.found


def test_every_check_looks_in_order_also_after_one_that_did_not_pass():
    seen: list[str] = []
    bad, good = Finding("one", False, "ONE", "no"), Finding("three", True)
    checks = (Says("one", bad, seen), Says("two", None, seen), Says("three", good, seen))
    found = screen(DRAFT, Policy(), checks)
    assert seen == ["one", "two", "three"]
    assert found.findings == (bad, good)
    assert not found.passed
    assert screen(DRAFT, Policy(), checks[1:]).passed


def test_the_language_check_tells_the_language():
    told = (Says("language", Finding("language", True, value="de"), []),)
    assert screen(DRAFT, Policy(), told).dna.language == "de"
    assert screen(DRAFT, Policy(), ()).dna.language == "und"


def test_dna_tells_apart_what_was_given_and_not_what_reads_the_same():
    again = Draft(1, {"term": "Fever", "text": "A high temperature."}, "a source")
    assert dna(DRAFT).raw != dna(again).raw
    assert dna(DRAFT).canonical == dna(again).canonical
    assert dna(DRAFT).fingerprint == dna(again).fingerprint == records.fingerprint(DRAFT.fields)
    elsewhere = Draft(0, DRAFT.fields, "another source")
    assert dna(elsewhere).raw != dna(DRAFT).raw
    assert dna(elsewhere).canonical == dna(DRAFT).canonical
    other_fields = Draft(0, {"a": "Fever", "b": "A high temperature."})
    assert dna(other_fields).canonical != dna(DRAFT).canonical
    assert dna(other_fields).fingerprint == dna(DRAFT).fingerprint
