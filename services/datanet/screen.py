"""The verb "screen": what checks find in a record, one by one and in order, and what it is known again by.

Knows one record at a time, and no database: whether somebody else gave it before is the store's to say.  What follows
from a finding is decided where the datanet's policy is obeyed, not here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from openledger import canonical, records
from services.datanet.draft import Draft
from services.datanet.model import Policy

UNDETERMINED = "und"
LANGUAGE_CHECK = "language"
"""The check whose `Finding.value` is the record's language."""


@dataclass(frozen=True)
class Finding:
    """What one check says of a record.  `message` is for its contributor and never quotes the record.

    `reason` is for programs (docs/errors/datanet.md), and empty where it passed; `suggestion` holds the fields as they
    would pass; `value` is what was measured, such as a language's tag, and never a piece of the record.
    """

    check: str
    passed: bool
    reason: str = ""
    message: str = ""
    suggestion: Mapping[str, str] | None = None
    value: str = ""


@dataclass(frozen=True)
class Dna:
    """What a record is known again by.

    raw: SHA-256 of fields and source as they were given.  canonical: SHA-256 of the fields in the form in which
    duplicates are compared.  fingerprint: `openledger.records.fingerprint`.  features: what its nearly equal texts
    share.  code: its meaning, in bits.  pdq: of its image, turned and mirrored each way.  phash: of its image.
    Empty where nothing has computed it.
    """

    raw: bytes
    canonical: bytes
    fingerprint: bytes
    language: str = UNDETERMINED
    features: tuple[bytes, ...] = ()
    code: bytes = b""
    pdq: tuple[bytes, ...] = ()
    phash: bytes = b""


@dataclass(frozen=True)
class Screened:
    """A record, looked at."""

    dna: Dna
    findings: tuple[Finding, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether no check has anything against it."""
        return all(finding.passed for finding in self.findings)


class Check(Protocol):
    """One thing to look for."""

    @property
    def id(self) -> str:
        """Names it in findings."""

    def look(self, draft: Draft, policy: Policy) -> Finding | None:
        """What it finds; `None` where it does not apply."""


def screen(draft: Draft, policy: Policy, checks: Sequence[Check]) -> Screened:
    """Look at a record with every check, in order, also after one that did not pass."""
    found = [check.look(draft, policy) for check in checks]
    findings = tuple(finding for finding in found if finding is not None)
    return Screened(replace(dna(draft), language=language(findings) or UNDETERMINED), findings)


def language(findings: Sequence[Finding]) -> str:
    """What they say that the record's language is; empty where none looked."""
    return next((finding.value for finding in findings if finding.check == LANGUAGE_CHECK), "")


def dna(draft: Draft) -> Dna:
    """What follows from the record's text alone."""
    fields = dict(draft.fields)
    comparable = {name: records.comparable(text) for name, text in fields.items()}
    return Dna(
        raw=_sha256({"fields": fields, "source": draft.source}),
        canonical=_sha256(comparable),
        fingerprint=records.fingerprint(fields),
    )


def _sha256(document: object) -> bytes:
    return hashlib.sha256(canonical.dumps(document)).digest()
