"""What goes to a worker with a file, and what comes back: JSON, and an image's bytes behind it.

What comes back is from a process that may have been taken over by the file it read: it is checked for its form, and
trusted for no more than the file itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from openledger import canonical
from services.datanet.files.found import Problem
from services.datanet.files.limits import Limits
from services.datanet.files.mapping import Entry

TASK_MODULE = "services.datanet.files.task"
TASK = f"{TASK_MODULE}:parse"
"""What takes a file apart, for whoever has workers; it is imported in them alone, for it needs much."""

_LENGTH = 8


@dataclass(frozen=True)
class Job:
    """A file to be taken apart.  `name` as it is shown; `mapping` is field id by part, empty for what names suggest."""

    name: str
    fields: tuple[str, ...]
    mapping: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def dumps(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def loads(cls, data: bytes) -> Self:
        """What `dumps` wrote."""
        plain = json.loads(data)
        return cls(plain["name"], tuple(plain["fields"]), plain["mapping"], Limits(**plain["limits"]))


@dataclass(frozen=True)
class Picture:
    """An image.  SHA-256 in hex, of the file and of its clean copy; `pdq` turned and mirrored each of eight ways.

    `crops`: PDQ of parts of it, by which it is known again when somebody has cut something off.  `pdq` and `crops` are
    empty when the image has too little in it to be told apart; `phash` has 8 bytes, the others 32.
    """

    media_type: str
    width: int
    height: int
    size: int
    sha256: str
    clean_sha256: str
    pdq: tuple[bytes, ...] = ()
    crops: tuple[bytes, ...] = ()
    phash: bytes = b""
    clean: bytes = b""


@dataclass(frozen=True)
class About:
    """What a file is.  `media_type` is empty when it is of no kind that is read."""

    media_type: str = ""
    encoding: str = ""
    parts: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    entry_count: int = 0
    problem_count: int = 0
    picture: Picture | None = None


@dataclass(frozen=True)
class Parsed:
    """What is in a file."""

    about: About
    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()

    def dumps(self) -> bytes:
        """As it is sent: what the file is, a line for each entry and problem, and a picture's clean copy."""
        head = asdict(self.about)
        clean = head["picture"].pop("clean") if self.about.picture else b""
        lines = b"".join((*map(_line, self.entries), *map(_line, self.problems)))
        first = json.dumps({**head, "lines": len(lines)}, default=bytes.hex).encode()
        return b"".join((len(first).to_bytes(_LENGTH, "big"), first, lines, clean))


class Answer:
    """What a worker sent, read as it is asked for, since all of it at once is large."""

    def __init__(self, data: bytes) -> None:
        """Raises `ValueError` for what `Parsed.dumps` did not write."""
        start = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
        self.size = len(data)
        try:
            head = canonical.parse_json(data[_LENGTH:start])
            self._data, self._start, self._end = data, start, start + int(head["lines"])
            self.about = About(
                str(head["media_type"]),
                str(head["encoding"]),
                tuple(map(str, head["parts"])),
                _texts(head["mapping"]),
                int(head["entry_count"]),
                int(head["problem_count"]),
                _picture(head["picture"], data[self._end :]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a worker's answer is not of its form: {error}") from None

    def found(self) -> Iterator[Entry | Problem]:
        """Entries, then problems, in the file's order.  Raises `ValueError` as above."""
        start = self._start
        while start < self._end:
            end = self._data.index(b"\n", start) + 1
            plain = canonical.parse_json(self._data[start:end])
            start = end
            try:
                yield _entry(plain) if "fields" in plain else Problem(**_texts(plain))
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"a worker's answer is not of its form: {error}") from None


def _line(found: Entry | Problem) -> bytes:
    return json.dumps(asdict(found), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def _entry(plain: dict[str, Any]) -> Entry:
    return Entry(str(plain["place"]), _texts(plain["fields"]), tuple(map(str, plain["notes"])))


def _picture(plain: dict[str, Any] | None, clean: bytes) -> Picture | None:
    if plain is None:
        return None
    return Picture(
        str(plain["media_type"]),
        int(plain["width"]),
        int(plain["height"]),
        int(plain["size"]),
        str(plain["sha256"]),
        str(plain["clean_sha256"]),
        tuple(map(bytes.fromhex, plain["pdq"])),
        tuple(map(bytes.fromhex, plain["crops"])),
        bytes.fromhex(plain["phash"]),
        clean,
    )


def _texts(plain: dict[str, str]) -> dict[str, str]:
    return {str(name): str(text) for name, text in plain.items()}
