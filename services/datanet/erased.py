"""The list of erased records in a file of its own: what a database that was put back from a copy cannot know.

A line is added, and is on disk, before a record's share is overwritten: nothing is destroyed that is not on the list.
It has names of records and places of shares, and nothing of what they said.  The newest copy of it is never wrong, of
however old a database: records are given new names each time, and an erasure is for ever.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from openledger import names
from services.datanet.shares import PLACE_BYTES
from services.kit import lines, logs


@dataclass(frozen=True)
class Erased:
    """One erased record by name; `told`: why, for those who trained on it; `share`: where that of its key was."""

    record: str
    told: str
    share: bytes = b""

    def line(self) -> str:
        """As it is in the file."""
        return json.dumps({"record": self.record, "told": self.told, "share": self.share.hex()})

    @classmethod
    def of(cls, line: str) -> Erased:
        """Raises `ValueError` for what is no such line."""
        said = json.loads(line)
        if not isinstance(said, dict) or not all(isinstance(said.get(key), str) for key in ("record", "told", "share")):
            raise ValueError("not a record, why, and a share")
        names.match("datanets/*/records/*", said["record"])
        share = bytes.fromhex(said["share"])
        if len(share) not in (0, PLACE_BYTES):
            raise ValueError("not a share's place")
        return cls(said["record"], said["told"], share)


class ErasedList:
    """The file, for its owner alone.  Several processes may add to it; a record may be on it more than once."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._added: set[Erased] = set()

    def add(self, *erased: Erased) -> None:
        """On disk when this returns; the same again changes nothing.  Raises `OSError`."""
        fresh = [each for each in erased if each not in self._added]
        if fresh:
            lines.add(self._path, (each.line() for each in fresh))
            self._added.update(fresh)

    def read(self) -> dict[str, Erased]:
        """By record; the one with a share where it is on the list with one and without.  Raises `OSError`."""
        found: dict[str, Erased] = {}
        for number, line in enumerate(lines.read(self._path), 1):
            try:
                erased = Erased.of(line)
            except ValueError as error:
                said = f"{self._path}:{number}: {error}"
                logs.logger("datanet").warning("a line of the list of erased records is passed over", error=said)
                continue
            if erased.share or erased.record not in found:
                found[erased.record] = erased
        return found
