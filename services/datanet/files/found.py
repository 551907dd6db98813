"""What readers find in a file, and how they say that they cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What could be one record: texts by part of the file.  `place` is for people: "line 3", "page 2"."""

    place: str
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Problem:
    """What could not be read, and what to do.  `place` is empty when it is the whole file; `reason` is for programs."""

    place: str
    reason: str
    message: str


@dataclass(frozen=True)
class Source:
    """A file that a reader can read.  `parts`: what its rows' texts can be named by; `rows` is read once."""

    parts: tuple[str, ...]
    rows: Iterable[Row | Problem]
    encoding: str = ""


class Refused(Exception):
    """Nothing can be had of the file, or nothing more."""

    def __init__(self, reason: str, message: str, place: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(place, reason, message)


def chosen(wanted: Iterable[str], ways: tuple[str, ...]) -> str:
    """Which of several ways to take a file apart a mapping asks for by naming it; the first when it names none."""
    asked = [way for way in ways if way in set(wanted)]
    if len(asked) > 1:
        raise Refused("MAPPING_UNCLEAR", f"a file is taken apart in one way, not by {' and by '.join(asked)}: name one")
    return asked[0] if asked else ways[0]
