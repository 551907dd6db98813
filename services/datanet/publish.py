"""The verb "publish": makes a snapshot's files and puts them where whoever may know of the snapshot finds them.

Anybody copies the artifacts; so what a private datanet has goes to a folder of the Datanet's own, and no text of a
record is in any of them, nor anything that follows from one.  Knows no database.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from openledger.artifacts import ArtifactStore
from openledger.snapshots import folder
from openledger.snapshots.documents import MANIFEST, Manifest, RecordField
from openledger.snapshots.files import Row
from services.datanet.model import Definition, Record, Snapshot

_MAKING = ".making-"


@dataclass(frozen=True)
class Places:
    """Where published files lie: those of all, and those of private datanets."""

    public: ArtifactStore
    private: ArtifactStore

    def prepare(self) -> None:
        """The private place is its owner's alone, and what was being made there when a process was killed goes.

        Another process that is just making files there has to begin again.  Raises `OSError`.
        """
        root = self.private.root
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        for left in root.glob(f"{_MAKING}*"):
            shutil.rmtree(left, ignore_errors=True)

    def holding(self, digest: str) -> ArtifactStore | None:
        """The one that has a file of that SHA-256."""
        return next((place for place in (self.public, self.private) if place.has(digest)), None)


def described(snapshot: Snapshot, definition: Definition, owner: str) -> Manifest:
    """What is said of a snapshot, before there are files.  definition: as it was when it was frozen."""
    return Manifest(
        snapshot=snapshot.name,
        parent=snapshot.parent,
        root=snapshot.root.hex(),
        record_count=snapshot.record_count,
        contributor_count=snapshot.contributor_count,
        licence=snapshot.licence,
        licence_notice=definition.licence_notice,
        display_name=definition.display_name,
        description=definition.description,
        tags=list(definition.tags),
        owner=owner,
        create_time=snapshot.create_time,
        fields=[RecordField(id=f.id, description=f.description, required=f.required) for f in definition.fields],
        files={},
    )


def publish(places: Places, said: Manifest, rows: Iterable[Row], is_private: Callable[[], bool]) -> Manifest:
    """Make the files and put them there, the manifest last, which is returned.  Raises `OSError`.

    The same snapshot gives the same files.  is_private: asked when they are made, however long that took.
    """
    with tempfile.TemporaryDirectory(prefix=_MAKING, dir=places.private.root) as work:
        made = folder.make(Path(work), said, rows)
        place = places.private if is_private() else places.public
        for name in (*made.files, MANIFEST):
            place.put_file(Path(work) / name)
    return made


def row(leaf: int, record: Record) -> Row:
    """What is published of a record."""
    return Row(leaf, record.name, record.contributor, record.licence, record.commitment.hex())
