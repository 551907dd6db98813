"""Enforces the rules that proto fields state about themselves (openledger/common/v1/rules.proto), at the edge.

The rules of a message type are read from its descriptor once; checking is then plain Python.  Knows no message by name.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from openledger import names
from openledger.common.v1 import rules_pb2
from openledger.money import parse_atomic
from services.kit.errors import Fault, invalid

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_ID = re.compile(r"[a-z][a-z0-9-]{1,61}[a-z0-9]\Z")

Check = Callable[[Any], str]
"""Takes a field's value, returns what is wrong with it, or an empty text."""


def validate(message: Message) -> None:
    """Raises `Fault` INVALID_ARGUMENT that names every field that breaks its rules."""
    problems = list(_problems(message, ""))
    if problems:
        first_field, first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        fault: Fault = invalid("INVALID_FIELD", f"{first_field}: {first}{more}", first_field)
        fault.fields = tuple(problems[:50])
        raise fault


def _problems(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for field, rules, checks, is_message in _plan(message.DESCRIPTOR):
        path = prefix + field.name
        value = getattr(message, field.name)
        present = message.HasField(field.name) if field.has_presence else bool(value)
        if not present and rules is not None and rules.required:
            yield path, "is required"
        elif not present and (field.has_presence or field.is_repeated):
            continue
        elif field.is_repeated:
            yield from _repeated(field, rules, checks, path, value)
        elif is_message:
            yield from _problems(value, f"{path}.")
        else:
            yield from ((path, problem) for problem in _failures(checks, value))


def _repeated(
    field: FieldDescriptor, rules: rules_pb2.Rules | None, checks: tuple[Check, ...], path: str, value: Any
) -> Iterator[tuple[str, str]]:
    if rules is not None and rules.max_items and len(value) > rules.max_items:
        yield path, f"has {len(value)} entries, at most {rules.max_items} are taken"
        return
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return  # what a map's entries may hold is the domain's to say
    for index, item in enumerate(value):
        if kind is not None:
            yield from _problems(item, f"{path}[{index}].")
        else:
            yield from ((f"{path}[{index}]", problem) for problem in _failures(checks, item))


def _failures(checks: tuple[Check, ...], value: Any) -> Iterator[str]:
    return (problem for check in checks if (problem := check(value)))


@cache
def _plan(
    descriptor: Descriptor,
) -> tuple[tuple[FieldDescriptor, rules_pb2.Rules | None, tuple[Check, ...], bool], ...]:
    """The fields of a message type worth looking at: those with rules, and those that hold messages."""
    plan = []
    for field in descriptor.fields:
        options = field.GetOptions()
        rules = options.Extensions[rules_pb2.rules] if options.HasExtension(rules_pb2.rules) else None
        kind = field.message_type
        is_message = kind is not None
        ours = kind is not None and kind.file.package.startswith("openledger.")
        if rules is not None or ours:
            plan.append((field, rules, tuple(_checks(rules)) if rules is not None else (), is_message))
    return tuple(plan)


def _checks(rules: rules_pb2.Rules) -> Iterator[Check]:
    if rules.max_len:
        limit = rules.max_len
        yield lambda v: f"is {len(v)} long, at most {limit} is taken" if len(v) > limit else ""
    if rules.form:
        form = _FORMS[rules.form]
        yield lambda v: _try(form, v) if v else ""
    if rules.resource:
        pattern = rules.resource
        yield lambda v: _try(lambda text: names.match(pattern, text), v) if v else ""
    if rules.HasField("min"):
        low = rules.min
        yield lambda v: "" if v >= low else f"is {v}, at least {low:g} is taken"
    if rules.HasField("max"):
        high = rules.max
        yield lambda v: "" if v <= high else f"is {v}, at most {high:g} is taken"


def _try(parse: Callable[[str], object], text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return ""


def _sha256(text: str) -> None:
    if not _SHA256.match(text):
        raise ValueError("is not a SHA-256: 64 lower-case hex digits")


def _id(text: str) -> None:
    if not _ID.match(text):
        raise ValueError("is not an id: 3 to 63 lower-case letters, digits and dashes, a letter first, no dash last")


def _uuid(text: str) -> None:
    if len(text) != 36:
        raise ValueError("is not a UUID in its 36-character form")
    uuid.UUID(text)


_FORMS: dict[int, Callable[[str], object]] = {
    rules_pb2.FORM_ADDRESS: names.address,
    rules_pb2.FORM_AMOUNT: parse_atomic,
    rules_pb2.FORM_UUID: _uuid,
    rules_pb2.FORM_SHA256: _sha256,
    rules_pb2.FORM_ID: _id,
}
