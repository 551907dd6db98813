"""Files that receipts are checked against: the published artifacts, and the base model on this machine.

Many receipts name the same ones.  What was computed of a file stands for as long as the file is the same one, by size
and time of modification, and for this object's life, which is one run of a command.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from openledger import base_models
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.influence.index import ContributionIndex
from openledger.influence.index import root as index_root


class Files:
    """The artifacts of a store, looked at anew: that one may have seen them before they changed."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self.store = artifacts.again()
        self.locate = cache(base_models.locate)
        self._sums: dict[Path, tuple[tuple[int, int], str]] = {}
        self._roots: dict[str, str] = {}

    def sha256(self, file: Path) -> str:
        """Hex SHA-256 of a file that is no artifact.  Raises `OSError`."""
        status = file.stat()
        seen = (status.st_size, status.st_mtime_ns)
        if self._sums.get(file, ((), ""))[0] != seen:
            self._sums[file] = seen, file_sha256(file)
        return self._sums[file][1]

    def root(self, digest: str, index: ContributionIndex) -> str:
        """Hex root of a contribution index, which is the artifact of that SHA-256."""
        if digest not in self._roots:
            self._roots[digest] = index_root(index).hex()
        return self._roots[digest]
