"""docs/logs.md and the code name the same log lines, with the same levels and fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PLACES = ("kit", "datanet", "factory", "openlora", "attribution", "ledger")
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error",
          "critical": "critical", "told": "info"}  # fmt: skip
ROW = re.compile(r"\| (.+) \| (\w+) \| (.*) \|\Z")
ELSEWHERE = {"exc_info", None}
"""Keywords that are no fields: the traceback has `exception`; `**` stands for fields of the code's choosing."""
OTHER_PROGRAMS = ("devchain", "contained.py", "contained_worker.py")
"""What runs beside a service, or logs by the standard library."""


class Line(NamedTuple):
    """A log line, as a row of the page has it."""

    event: str
    level: str
    fields: tuple[str, ...]


def logged(folder: Path) -> Iterator[Line]:
    """Every call of a logger's method in the folder's modules, whose event is written out there."""
    for path in sorted(folder.rglob("*.py")):
        if set(OTHER_PROGRAMS) & {*path.relative_to(folder).parts}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_logger(node.func):
                fields = tuple(word.arg for word in node.keywords if word.arg and word.arg not in ELSEWHERE)
                for event in _events(node.args[-1]):
                    yield Line(event, LEVELS[node.func.attr], fields)


def _is_logger(called: ast.Attribute) -> bool:
    return called.attr in LEVELS and ast.unparse(called.value).split("(")[0].endswith(("log", "logs", "logger"))


def _events(argument: ast.expr) -> list[str]:
    match argument:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=other):
            return [*_events(body), *_events(other)]
    return []


def page() -> dict[str, set[Line]]:
    """The page's rows, by section."""
    found: dict[str, set[Line]] = {}
    section = ""
    for line in (ROOT / "docs" / "logs.md").read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").lower()
        elif (row := ROW.match(line)) and row[2] in LEVELS.values():
            fields = tuple(field.strip("` ") for field in row[3].split(",") if field.strip())
            found.setdefault(section, set()).add(Line(row[1].strip("`"), row[2], fields))
    return found


def test_the_page_has_every_line_that_is_logged_and_no_other():
    rows = page()
    for place in PLACES:
        section = "every service" if place == "kit" else place
        assert rows[section] == set(logged(ROOT / "services" / place)), section


def test_an_answer_is_found_again_by_one_field_at_every_station():
    lines = {(place, line.event): line.fields for place in PLACES for line in logged(ROOT / "services" / place)}
    for station in (("openlora", "answer"), ("attribution", "receipt"), ("ledger", "booked")):
        assert "response" in lines[station]
