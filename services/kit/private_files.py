"""Files of adapter revisions that are not public, for people's texts are in them, in a service's own folder.

    <root>/<digest of the revision>/<name>            whole: only ever put in place by one rename
    <root>/<digest of the revision>/<name>.part       what has arrived of it so far

The manifest says by SHA-256 what a file must be; whoever reads one compares.  Knows nothing of what is inside.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from openledger.artifacts import sync_folder

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


class PrivateFiles:
    """A folder of them.  Raises `ValueError` for what is no digest or no plain name."""

    def __init__(self, root: Path) -> None:
        self._root = Path(root)

    def place(self, revision: str, name: str) -> Path:
        """Where a whole file lies, or would.  revision: the digest that its name ends with."""
        if not _NAME.match(name):
            raise ValueError(f"{name[:80]!r} is no plain file name")
        return self._folder(revision) / name

    def partial(self, revision: str, name: str) -> Path:
        """Where what has arrived of a file so far is collected; its folder is made, for nobody else to look into."""
        place = self.place(revision, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.parent.chmod(0o700)
        return place.with_name(f"{name}.part")

    def put(self, revision: str, name: str, source: Path) -> None:
        """Keep a copy of a file.  Again does no harm."""
        partial = self.partial(revision, name)
        shutil.copyfile(source, partial)
        self.finish(revision, name)

    def finish(self, revision: str, name: str) -> None:
        """What has arrived is the whole file: give it its name, so that a power cut leaves all of it or none."""
        partial = self.partial(revision, name)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(self.place(revision, name))
        sync_folder(partial.parent)

    def remove(self, revision: str) -> None:
        """Remove all files of a revision, whole and partial; none there is no error."""
        shutil.rmtree(self._folder(revision), ignore_errors=True)
        if self._folder(revision).exists():
            raise OSError(f"the private files in {self._folder(revision)} could not be removed")

    def beside(self, revision: str, name: str) -> int:
        """Bytes of all else that there is of a revision, whole and partial."""
        own = {name, f"{name}.part"}
        return sum(file.stat().st_size for file in self._folder(revision).glob("*") if file.name not in own)

    def used(self, revision: str) -> None:
        """Note that a revision's files were used now: they make way last."""
        os.utime(self._folder(revision))

    def make_room(self, more: int, most: int, spare: str) -> None:
        """Remove the files of revisions that were used longest ago, until so many bytes more fit into `most`.

        Those of the revision `spare` stay.
        """
        sizes = {name: sum(file.stat().st_size for file in self._folder(name).iterdir()) for name in self.revisions()}
        for revision in sorted(sizes, key=lambda name: self._folder(name).stat().st_mtime_ns):
            if sum(sizes.values()) + more > most and revision != spare:
                self.remove(revision)
                del sizes[revision]

    def revisions(self) -> list[str]:
        """The digests of revisions of which there is anything."""
        return sorted(path.name for path in self._root.glob("*") if _DIGEST.match(path.name))

    def keep_only(self, revisions: Collection[str]) -> None:
        """Remove the files of all other revisions."""
        for revision in set(self.revisions()).difference(revisions):
            self.remove(revision)

    def _folder(self, revision: str) -> Path:
        if not _DIGEST.match(revision):
            raise ValueError(f"{revision[:80]!r} is not the digest of a revision: 64 lower-case hex digits")
        return self._root / revision
