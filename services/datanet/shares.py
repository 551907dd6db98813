"""The part of every record's key that is in no database: shares in files, each of one record, and overwritten with it.

A database keeps what was deleted: in its log, in copies of it, in files that it has given back.  So a key that lies in
it, however wrapped, is never surely gone.  Each record's key is wrapped under the service's secret and a share of 32
random bytes; what the database keeps of the record opens no more once the share is overwritten.

Shares come in segments of 1,024 that are made, and are on disk, before the first of them is used; a share is used
once, and a process uses none of another's segments.  So nothing waits for a disk with each record, and processes that
share the folder do not meet.  Knows no records and no databases.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import tempfile
import threading
from pathlib import Path

from openledger.artifacts import sync_folder

SHARE_BYTES, SEGMENT = 32, 1_024
PLACE_BYTES = 10
"""A segment's id, and the share's number in it."""

_GONE = bytes(SHARE_BYTES)
_ID = 8
_NAME = re.compile(r"[0-9a-f]{16}\.shares\Z")


class ShareGone(LookupError):
    """A share was overwritten, or its file is not there."""


class Shares:
    """A folder of them, for their owner alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self._id, self._segment, self._next = b"", b"", SEGMENT

    def take(self) -> tuple[bytes, bytes]:
        """A share that nobody has: where it is, and its bytes.  Raises `OSError`."""
        with self._lock:
            if self._next == SEGMENT:
                self._id, self._segment = self._make()
                self._next = 0
            number = self._next
            self._next += 1
            at = number * SHARE_BYTES
            return self._id + number.to_bytes(2, "big"), self._segment[at : at + SHARE_BYTES]

    def get(self, place: bytes) -> bytes:
        """Raises `ShareGone`, `OSError`."""
        try:
            file = os.open(self._file(place), os.O_RDONLY)
        except FileNotFoundError:
            raise ShareGone(f"there is no segment {place[:_ID].hex()}") from None
        try:
            share = os.pread(file, SHARE_BYTES, self._offset(place))
        finally:
            os.close(file)
        if len(share) != SHARE_BYTES or share == _GONE:
            raise ShareGone(f"share {place.hex()} is gone")
        return share

    def has(self, place: bytes) -> bool:
        """Whether `get` gives one.  Raises `OSError`."""
        try:
            self.get(place)
        except ShareGone:
            return False
        return True

    def destroy(self, place: bytes) -> None:
        """Overwrite a share, for good when this returns.  Again does no harm.

        Raises `OSError`, also where its segment is not in the folder: then it may be somewhere else, and open.
        """
        with self._lock:
            if place[:_ID] == self._id:  # what this process holds in memory of it
                at = self._offset(place)
                self._segment = self._segment[:at] + _GONE + self._segment[at + SHARE_BYTES :]
        try:
            file = self._file(place).open("r+b")
        except FileNotFoundError:
            raise FileNotFoundError(
                errno.ENOENT, "the share to be overwritten is in no file of this name", str(self._file(place))
            ) from None
        with file:
            file.seek(self._offset(place))
            file.write(_GONE)
            file.flush()
            os.fsync(file.fileno())

    def is_empty(self) -> bool:
        """Whether there are no segments."""
        return not self._folder.is_dir() or not any(_NAME.match(file.name) for file in self._folder.iterdir())

    def _make(self) -> tuple[bytes, bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        name, segment = secrets.token_bytes(_ID), secrets.token_bytes(SEGMENT * SHARE_BYTES)
        handle, partial = tempfile.mkstemp(dir=self._folder, prefix=".new-")  # readable by its owner alone
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(segment)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(self._folder / f"{name.hex()}.shares")
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        sync_folder(self._folder)
        return name, segment

    def _file(self, place: bytes) -> Path:
        return self._folder / f"{place[:_ID].hex()}.shares"

    def _offset(self, place: bytes) -> int:
        return int.from_bytes(place[_ID:PLACE_BYTES], "big") * SHARE_BYTES
