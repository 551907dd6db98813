"""The verb "admit": whether one record may come in, by its form and the datanet's rules.

Knows one record at a time; whether somebody else gave it before is the store's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openledger.records import comparable
from services.datanet.model import Datanet, Definition
from services.datanet.screen import Finding
from services.datanet.text import control_character
from services.kit.errors import aborted


@dataclass(frozen=True)
class Refusal:
    """Why a record is not taken: a reason for programs (docs/errors/datanet.md), and words for its contributor.

    `findings`: of the checks, where they looked at it; `suggestion`: its fields as they would be taken.
    """

    reason: str
    message: str
    findings: tuple[Finding, ...] = ()
    suggestion: Mapping[str, str] | None = None


def too_large(size: int, limit: int) -> Refusal:
    """The refusal of a record whose canonical bytes are too many."""
    return Refusal("RECORD_TOO_LARGE", f"the record has {size} bytes, at most {limit} are taken: split it")


def refusal(definition: Definition, fields: Mapping[str, str], source: str) -> Refusal | None:
    """What is wrong with a record, or `None` when it may come in.  The first problem found is told."""
    return _wrong_fields(definition, fields) or _wrong_text(fields, source) or _wrong_length(definition, fields)


def _wrong_fields(definition: Definition, fields: Mapping[str, str]) -> Refusal | None:
    known = {field.id for field in definition.fields}
    for given in sorted(fields):
        if given not in known:
            listed = ", ".join(sorted(known))[:100]
            return Refusal("FIELD_UNKNOWN", f"there is no field {given[:63]!r} here; there are: {listed}")
    if not any(comparable(text) for text in fields.values()):
        return Refusal("RECORD_EMPTY", "the record has no text")
    for field in definition.fields:
        if field.required and not comparable(fields.get(field.id, "")):
            return Refusal("FIELD_MISSING", f"the field {field.id!r} is required and has no text")
    return None


def _wrong_text(fields: Mapping[str, str], source: str) -> Refusal | None:
    for where, text in (*fields.items(), ("source", source)):
        found = control_character(text)
        if found is not None:
            return Refusal("CONTROL_CHARACTER", f"{where!r} has the control character {found}: take it out")
    return None


def _wrong_length(definition: Definition, fields: Mapping[str, str]) -> Refusal | None:
    policy, length = definition.policy, sum(map(len, fields.values()))
    if length < policy.min_chars:
        return Refusal("TEXT_TOO_SHORT", f"the text has {length} characters, at least {policy.min_chars} are asked for")
    if policy.max_chars and length > policy.max_chars:
        return Refusal("TEXT_TOO_LONG", f"the text has {length} characters, at most {policy.max_chars} are taken")
    return None


def check_current(judged: Datanet, now: Datanet) -> None:
    """Raises `Fault` when a datanet admits records by other rules now than those by which they were judged."""
    if (judged.definition.fields, judged.definition.policy) != (now.definition.fields, now.definition.policy):
        raise aborted(
            "DATANET_CHANGED",
            f"the owner of {now.name} changed what records it takes meanwhile. Nothing was taken: send it again, to be "
            "judged anew",
        )
