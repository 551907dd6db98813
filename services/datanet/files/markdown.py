"""Markdown: a section a row, from a heading to the next one.

Knows headings (`#` and underlined), fenced code and a YAML head, which is left out; the rest of the text stays as it
is written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from services.datanet.files.found import Problem, Row, Source, chosen
from services.datanet.files.text import WHOLE, decoded

HEADING, SECTION = "heading", "section"
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")


def read(data: bytes, wanted: Collection[str]) -> Source:
    """A section a row, with its heading apart; or the whole file as one."""
    way = chosen(wanted, (SECTION, WHOLE))
    text, encoding = decoded(data)
    if way == WHOLE:
        return Source((HEADING, SECTION, WHOLE), [Row("", {WHOLE: text})], encoding)
    return Source((HEADING, SECTION, WHOLE), rows_of(sections(text.split("\n"))), encoding)


def rows_of(found: Iterable[tuple[str, str, str]]) -> Iterator[Row | Problem]:
    """Rows of (place, heading, text); a heading with nothing below it is no record."""
    for place, heading, text in found:
        if text.strip():
            yield Row(place, {HEADING: heading, SECTION: text})


def sections(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """(place, heading, text) of each section; what is before the first heading has an empty one."""
    head = _head(lines)
    heading, body, start, fence = "", list[str](), head + 1, ""
    for number, line in enumerate(lines[head:], head + 1):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) and not line.strip(" `~") else fence
        elif mark:
            fence = mark[1]
        elif (said := _heading(line)) is not None:
            yield f"line {start}", heading, "\n".join(body)
            heading, body, start = said, [], number
            continue
        elif body and body[-1].strip() and _UNDERLINE.match(line) and _alone(body):
            above = body.pop()
            yield f"line {start}", heading, "\n".join(body)
            heading, body, start = above.strip(), [], number - 1
            continue
        body.append(line)
    yield f"line {start}", heading, "\n".join(body)


def _heading(line: str) -> str | None:
    """What a line of hashes says; `None` when it is none."""
    bare = line.lstrip(" ")
    said = bare.lstrip("#")
    if len(line) - len(bare) > 3 or not 1 <= len(bare) - len(said) <= 6 or (said and said[0] not in " \t"):
        return None
    said = said.strip()
    closed = said.rstrip("#")
    return closed.rstrip() if closed != said and (not closed or closed[-1] in " \t") else said


def _alone(body: list[str]) -> bool:
    """Whether the last line is no list, quotation or table, below which a line of dashes is no underline."""
    above = body[-1].lstrip()
    return not above.startswith(("-", "*", "+", ">", "|"))


def _head(lines: list[str]) -> int:
    """How many lines a YAML head takes."""
    if lines[0].rstrip() != "---":
        return 0
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() in {"---", "..."}), None)
    return 0 if end is None else end + 1
