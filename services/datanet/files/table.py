"""Rows with named columns: JSON Lines and CSV."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from openledger import canonical
from services.datanet.files import limits as most
from services.datanet.files.found import Problem, Refused, Row, Source
from services.datanet.files.text import decoded

_DELIMITERS = ",;\t|"
_LONGEST_NAME = 200  # characters
_LOOKED_AT = 100  # rows, for what columns there are


def read_jsonl(data: bytes) -> Source:
    """An object a line, in UTF-8; numbers and truth values are taken as they are written.

    Raises `Refused` with the first line's problem, where none of the first lines is an object.
    """
    rows = _objects(data)
    first = list(islice(rows, _LOOKED_AT))
    columns = dict.fromkeys(name for row in first if isinstance(row, Row) for name in row.texts)
    if not columns and first and isinstance(first[0], Problem):
        raise Refused(first[0].reason, first[0].message, first[0].place)
    return Source(tuple(columns), chain(first, rows), "utf-8")


def read_csv(data: bytes) -> Source:
    """Columns as the first row names them; what parts them is a comma, a semicolon, a tab or a bar, as the file has it.

    Raises `Refused`: TOO_MANY_COLUMNS, COLUMN_TWICE, LINE_TOO_LONG, ROW_UNREADABLE, as of its first row.
    """
    text, encoding = decoded(data)
    csv.field_size_limit(most.LINE_BYTES)
    # Quotes decide where rows end, so the reader is given lines with their ends.
    reader = csv.reader(_bounded(text), delimiter=_delimiter(text), strict=True)
    try:
        header = next((row for row in reader if len(row) > most.COLUMNS or any(map(str.strip, row))), [])
    except csv.Error as error:
        raise _unreadable(reader.line_num, error) from None
    if len(header) > most.COLUMNS:
        raise Refused("TOO_MANY_COLUMNS", f"the table has {len(header)} columns, at most {most.COLUMNS} are read")
    names = [name.strip() for name in header]
    twice = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if twice is not None:
        raise Refused("COLUMN_TWICE", f"two columns are called {twice[:60]!r}: give each a name of its own")
    return Source(tuple(filter(_is_name, names)), _cells(reader, names), encoding)


def _objects(data: bytes) -> Iterator[Row | Problem]:
    start, number = 3 if data.startswith(b"\xef\xbb\xbf") else 0, 0
    while start < len(data):
        number += 1
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        place = f"line {number}"
        if end - start > most.LINE_BYTES:
            yield Problem(place, "LINE_TOO_LONG", _too_long(end - start))
        elif line := data[start:end].strip():
            yield _object(place, line)
        start = end + 1


def _object(place: str, line: bytes) -> Row | Problem:
    try:
        # As they are written: no number is rounded, and none is too long to be turned into one.
        canonical.check_depth(line)
        found = json.loads(line.decode(), parse_int=str, parse_float=str, parse_constant=str)
    except UnicodeDecodeError:
        return Problem(
            place, "LINE_NOT_UNICODE", "the line is not UTF-8, which JSON Lines are in: save the file as UTF-8"
        )
    except ValueError:
        return Problem(place, "LINE_NOT_JSON", 'the line is no JSON: write one object a line, such as {"text": "..."}')
    if not isinstance(found, dict):
        return Problem(place, "LINE_NOT_JSON", 'the line is JSON, but no object: write it as {"text": "..."}')
    if len(found) > most.COLUMNS:
        return Problem(place, "TOO_MANY_COLUMNS", f"it has {len(found)} members, at most {most.COLUMNS} are read")
    texts = {name: _text(value) for name, value in found.items() if _is_name(name)}
    return Row(place, {name: text for name, text in texts.items() if text is not None})


def _is_name(name: str) -> bool:
    """Whether a column can be named: not when it has no name, or one that nobody can write."""
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return None if value is None else str(value)


def _cells(reader: Any, names: list[str]) -> Iterator[Row | Problem]:
    number = 1
    try:
        for row in reader:
            number += 1
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(names):
                message = (
                    f"it has {len(row)} cells, the first row names {len(names)} columns: look for a stray delimiter"
                )
                yield Problem(f"row {number}", "ROW_TOO_WIDE", message)
                continue
            yield Row(f"row {number}", {name: cell for name, cell in zip(names, row, strict=False) if _is_name(name)})
    except csv.Error as error:
        raise _unreadable(reader.line_num, error) from None


def _bounded(text: str) -> Iterator[str]:
    start, number = 0, 0
    while start < len(text):
        number += 1
        end = text.find("\n", start) + 1 or len(text)
        if end - start > most.LINE_BYTES:
            raise Refused("LINE_TOO_LONG", _too_long(end - start), f"line {number}")
        yield text[start:end]
        start = end


def _delimiter(text: str) -> str:
    """What most evenly parts the first rows into most columns."""
    lines = list(islice(_bounded(text[: 64 * 2**10]), 20))
    # The last one may be cut off, and a quoted cell may go on; both tell little.
    return max(_DELIMITERS, key=lambda delimiter: _evenness(lines[:-1] or lines, delimiter))


def _evenness(lines: list[str], delimiter: str) -> tuple[int, int]:
    try:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if row)
    except csv.Error:
        return 0, 0
    width, count = max(widths.items(), key=lambda item: (item[0] > 1, item[1], item[0]), default=(0, 0))
    return (count, width) if width > 1 else (0, 0)


def _too_long(size: int) -> str:
    return f"the line has {size} characters, at most {most.LINE_BYTES} are read: one record a line, and long ones split"


def _unreadable(line: int, error: csv.Error) -> Refused:
    message = f"the row that ends here is no CSV ({error}): look at its quotes. Nothing after it was read"
    return Refused("ROW_UNREADABLE", message, f"line {line}")
