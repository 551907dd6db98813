"""The filter of ListFineTunes: comparisons joined by AND, of AIP-160 what a list of jobs needs, as SQL conditions.

state = "TRAINING" AND base = "smollm2-135m-instruct" AND create_time >= "2026-01-01T00:00:00Z"
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement

from services.factory.licence import Use
from services.factory.model import State
from services.factory.shown import shown
from services.factory.tables import FINE_TUNE

_TERM = re.compile(r'\s*(?P<field>\w+)\s*(?P<sign>>=|<=|!=|=|>|<)\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"]+))\s*')
_AND = re.compile(r"AND\b")
_SIGNS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class FilterError(ValueError):
    """The filter cannot be read; the message says where and what would do."""


def conditions(text: str, status: Mapping[str, State]) -> list[ColumnElement[bool]]:
    """status: other words for states.  Raises `FilterError`."""
    found: list[ColumnElement[bool]] = []
    position = 0
    while text.strip():
        term = _TERM.match(text, position)
        if term is None:
            raise FilterError(
                f'at character {position + 1} of the filter a comparison is expected, such as state = "QUEUED"'
            )
        found.append(_condition(term["field"], term["sign"], term["quoted"] or term["plain"] or "", status))
        joint = _AND.match(text, term.end())
        if joint is None:
            if term.end() < len(text):
                raise FilterError(f"at character {term.end() + 1} of the filter AND is expected, or its end")
            break
        position = joint.end()
    return found


def _condition(field: str, sign: str, value: str, status: Mapping[str, State]) -> ColumnElement[bool]:
    if field not in _FIELDS:
        raise FilterError(f"there is no field {shown(field)}; there is: {', '.join(sorted(_FIELDS))}")
    column, read = _FIELDS[field]
    if sign not in {"=", "!="} and field != "create_time":
        raise FilterError(f"{field} can be compared with = and != alone")
    try:
        return _SIGNS[sign](column, read(value, status))
    except (ValueError, OverflowError) as error:  # the year 0 of another zone
        raise FilterError(f"{field}: {error}") from error


def _state(value: str, status: Mapping[str, State]) -> str:
    known = status.get(value) or value.removeprefix("FINE_TUNE_STATE_")
    if known not in set(State):
        raise ValueError(f"{shown(value)} is none of {', '.join(State)}")
    return known


def _text(value: str, _: Mapping[str, State]) -> str:
    if "\0" in value:
        raise ValueError("no text here has the character NUL")
    return value


def _adapter(value: str, _: Mapping[str, State]) -> str:
    return _text(value, {}).removeprefix("adapters/")


def _use(value: str, _: Mapping[str, State]) -> str:
    word = value.lower().removeprefix("use_").replace("_", "-")
    if word not in set(Use):
        raise ValueError(f"{shown(value)} is none of {', '.join(Use)}")
    return word


def _moment(value: str, _: Mapping[str, State]) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_FIELDS: Mapping[str, tuple[Column[Any], Callable[[str, Mapping[str, State]], Any]]] = {
    "state": (FINE_TUNE.c.state, _state),
    "status": (FINE_TUNE.c.state, _state),
    "adapter": (FINE_TUNE.c.adapter, _adapter),
    "base": (FINE_TUNE.c.base, _text),
    "use": (FINE_TUNE.c.use, _use),
    "clone_of": (FINE_TUNE.c.clone_of, _text),
    "reason": (FINE_TUNE.c.reason, _text),
    "create_time": (FINE_TUNE.c.create_time, _moment),
}
