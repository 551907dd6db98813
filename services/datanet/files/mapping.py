"""Which part of a file becomes which field of a record: as the person says, else as the names suggest.

Knows field ids, and nothing of what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.datanet.files.found import Problem, Refused, Row
from services.datanet.files.markdown import HEADING, SECTION
from services.datanet.files.text import PARAGRAPH, WHOLE, mended

PAGE = "page"
_BODIES = (PARAGRAPH, SECTION, PAGE, WHOLE)
"""Parts that hold what a file without columns says; the first that rows have is taken."""
_LISTED = 20
_HALF = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")


@dataclass(frozen=True)
class Entry:
    """What could be a record: texts by field id, where in the file it is, and what was changed in it."""

    place: str
    fields: Mapping[str, str]
    notes: tuple[str, ...] = ()


def decide(parts: Sequence[str], said: Mapping[str, str], fields: Sequence[str]) -> dict[str, str]:
    """Field id by part.  said: the person's own mapping, which stands alone where there is one.

    Raises `Refused`: NOTHING_FOUND, PART_UNKNOWN, FIELD_UNKNOWN, FIELD_TWICE, MAPPING_UNCLEAR.
    """
    if not parts:
        raise Refused("NOTHING_FOUND", "the file has no columns with names")
    if said:
        _check(parts, said, fields)
        return dict(said)
    mapping = by_name(parts, fields)
    body = next((part for part in parts if part in _BODIES), parts[0] if len(parts) == 1 else None)
    free = [field for field in fields if field not in mapping.values()]
    if body in _BODIES or not mapping:
        field = "text" if "text" in free else free[0] if len(free) == 1 else None
        if body is not None and field is not None:
            return {**mapping, body: field}
    elif mapping:
        return mapping
    raise Refused(
        "MAPPING_UNCLEAR",
        f"which part of the file is which field cannot be told by names: the file has {_listed(parts)}, the datanet "
        f"takes {_listed(fields)}; give a mapping",
    )


def by_name(parts: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """Field id by part, for those that are called alike, apart from case, blanks and hyphens; the first of two."""
    known = {_plain(field): field for field in fields}
    mapping: dict[str, str] = {}
    for part in parts:
        field = known.pop(_plain(part), None) if part not in _BODIES else None
        if field is not None:
            mapping[part] = field
    return mapping


def entry(row: Row, mapping: Mapping[str, str], record_bytes: int) -> Entry | Problem | None:
    """A row as a record; `None` when it has nothing of what is mapped."""
    texts = dict(row.texts)
    body = next((part for part in _BODIES if part in mapping and part in texts), None)
    if body is not None and HEADING not in mapping and texts.get(HEADING, "").strip():
        texts[body] = f"{texts[HEADING].strip()}\n\n{texts[body].strip()}"
    fields: dict[str, str] = {}
    notes: dict[str, None] = {}
    for part, field in mapping.items():
        raw = texts.get(part, "")
        if _HALF.search(raw):
            return Problem(row.place, "NOT_UNICODE", f"{part[:60]!r} has half a character (U+D800 to U+DFFF): mend it")
        text, changed = mended(raw)
        if text:
            fields[field] = text
        notes.update(dict.fromkeys(changed))
    size = sum(len(text.encode()) for text in fields.values())
    if size > record_bytes:
        return Problem(
            row.place, "RECORD_TOO_LARGE", f"it has {size} bytes, at most {record_bytes} are taken: split it"
        )
    return Entry(row.place, fields, tuple(notes)) if fields else None


def _check(parts: Sequence[str], said: Mapping[str, str], fields: Sequence[str]) -> None:
    for part, field in said.items():
        if part not in parts:
            raise Refused("PART_UNKNOWN", f"the file has no {part[:60]!r}; it has {_listed(parts)}")
        if field not in fields:
            raise Refused("FIELD_UNKNOWN", f"there is no field {field[:63]!r} here; there are: {_listed(fields)}")
    twice = next((field for field in said.values() if list(said.values()).count(field) > 1), None)
    if twice is not None:
        raise Refused("FIELD_TWICE", f"two parts are mapped to {twice!r}: a field takes one")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED} more" if len(names) > _LISTED else shown or "none"
