"""Published artifacts: immutable blobs named by the SHA-256 of their bytes, in a folder anyone can copy.

A reader never trusts the folder: bytes are hashed when they are read.  Knows nothing of what is inside a blob.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import Self

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_CHUNK = 1 << 20
_PARTIAL = ".new-"


class ArtifactError(ValueError):
    """An artifact is missing, or its bytes are not what its name says."""


class ArtifactStore:
    """A folder of blobs: `<root>/sha256/<first two hex digits>/<digest>`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._verified: dict[str, tuple[int, int]] = {}

    def __str__(self) -> str:
        return str(self.root)

    def bring(self, digest: str) -> Path:
        """Where a blob lies, unchecked, if it is there; a store of what is elsewhere brings it first.

        Raises `ArtifactError` for what is no blob's name.
        """
        return self._place(digest)

    def again(self) -> Self:
        """The same artifacts, of which nothing has been checked yet."""
        other = copy(self)
        other._verified = {}
        return other

    def has(self, digest: str) -> bool:
        """Whether a blob of that name is there."""
        return self.bring(digest).is_file()

    def is_whole(self, digest: str) -> bool:
        """Whether a blob of that name is there, and its bytes are what its name says."""
        try:
            self.path(digest)
        except (ArtifactError, OSError):
            return False
        return True

    def get(self, digest: str) -> bytes:
        """The blob's bytes, checked.  Raises `ArtifactError`."""
        place = self.bring(digest)
        try:
            data = place.read_bytes()
        except OSError as error:
            raise ArtifactError(f"artifact {digest} cannot be read from {self}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise ArtifactError(f"artifact {digest} is damaged: its bytes have another SHA-256")
        return data

    def path(self, digest: str) -> Path:
        """Where the blob lies, after checking its bytes, for readers that map files into memory.

        An unchanged file (size and modification time) is hashed once a process.  Raises `ArtifactError`.
        """
        place = self.bring(digest)
        try:
            status = place.stat()
        except OSError as error:
            raise ArtifactError(f"artifact {digest} is not in {self}") from error
        seen = (status.st_size, status.st_mtime_ns)
        if self._verified.get(digest) != seen:
            if file_sha256(place) != digest:
                raise ArtifactError(f"artifact {digest} is damaged: its bytes have another SHA-256")
            self._verified[digest] = seen
        return place

    def size(self, digest: str) -> int:
        """Bytes of a blob, which are not read.  Raises `ArtifactError`."""
        place = self.bring(digest)
        try:
            return place.stat().st_size
        except OSError as error:
            raise ArtifactError(f"artifact {digest} cannot be read from {self}: {error.strerror}") from error

    def use(self, digest: str) -> bool:
        """Whether a blob of that name is there; if so, its file's time says from now on that it was used now."""
        try:
            os.utime(self._place(digest))
        except FileNotFoundError:
            return False
        return True

    def sweep(self) -> None:
        """Remove what writers that were killed have left.  Only while nobody writes."""
        for left in (self.root / "sha256").glob(f"*/{_PARTIAL}*"):
            left.unlink(missing_ok=True)

    def put(self, data: bytes) -> str:
        """Store bytes; returns their digest.  The same bytes again heal a damaged blob, and else change nothing."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.is_whole(digest):
            self._write(digest, [data])
        return digest

    def put_file(self, source: Path) -> str:
        """Store a copy of a file; returns its digest.  As `put`."""
        digest = file_sha256(source)
        if not self.is_whole(digest):
            with source.open("rb") as file:
                self._write(digest, iter(lambda: file.read(_CHUNK), b""))
        return digest

    def _write(self, digest: str, chunks: Iterable[bytes]) -> None:
        place = self._place(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=_PARTIAL)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o444)
            Path(temporary).replace(place)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(place.parent)

    def _place(self, digest: str) -> Path:
        if not _DIGEST.match(digest):
            raise ArtifactError(f"{digest[:80]!r} is not the name of an artifact: 64 lower-case hex digits")
        return self.root / "sha256" / digest[:2] / digest


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
