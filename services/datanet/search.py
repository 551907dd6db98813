"""The verb "search": the words of a question, and whether a text has them all.

Datanets are searched in the database, by what their owners say about them.  Records are sealed there: they are opened
one after the other, those alone that the asker may read, and so many a call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from openledger.records import comparable
from services.datanet import pages
from services.datanet.model import Content, Definition, Record
from services.kit.errors import invalid

MOST_WORDS = 8
AT_ONCE, AT_ONCE_BYTES = 2_000, 2**23
"""Records, and their canonical bytes, that one call looks through."""


def words(question: str, field: str) -> tuple[str, ...]:
    """The words of a question, in the form in which they are looked for.  Raises `Fault` when there are too many."""
    found = tuple(dict.fromkeys(_form(question).split()))
    if len(found) > MOST_WORDS:
        raise invalid("INVALID_FIELD", f"{field}: has {len(found)} words, at most {MOST_WORDS} are looked for", field)
    return found


def about(datanet: str, definition: Definition) -> str:
    """All that a datanet is found by, in the form in which words are looked for."""
    return _form("\n".join((datanet, definition.display_name, definition.description, *definition.tags)))


def question(datanet: str, wanted: Sequence[str]) -> str:
    """What page tokens belong to; says nothing of the words."""
    return f"search {datanet} {hashlib.sha256(repr(tuple(wanted)).encode()).hexdigest()[:16]}"


def among(
    texts: Iterable[tuple[Record, Content]], wanted: Sequence[str], size: int
) -> tuple[list[tuple[Record, Content]], int]:
    """The next page of records with all the words, and the number of the last one looked at; 0 when all were."""
    found: list[tuple[Record, Content]] = []
    looked = looked_bytes = weight = 0
    for record, content in texts:
        looked, looked_bytes = looked + 1, looked_bytes + record.size
        if holds((*content.fields.values(), content.source), wanted):
            found.append((record, content))
            weight += record.size
        full = len(found) == size or weight > pages.PAGE_BYTES
        if full or looked == AT_ONCE or looked_bytes > AT_ONCE_BYTES:
            return found, record.number
    return found, 0


def holds(texts: Iterable[str], wanted: Sequence[str]) -> bool:
    """Whether each word stands somewhere in the texts, also as a part of a longer one."""
    whole = _form("\n".join(texts))
    return all(word in whole for word in wanted)


def _form(text: str) -> str:
    return comparable(text).casefold()
