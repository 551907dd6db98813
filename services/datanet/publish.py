"""The verb "publish": makes a snapshot's files and puts them where whoever may know of the snapshot finds them.

Anybody copies the artifacts; so what a private datanet has goes to a folder of the Datanet's own, and no text of a
record is in any of them.  Knows no database.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from openledger.artifacts import ArtifactStore
from openledger.snapshots import folder
from openledger.snapshots.croissant import About
from openledger.snapshots.documents import CLUSTERS, Manifest, RecordField
from openledger.snapshots.files import Row
from services.datanet.model import Definition, Record, Snapshot, Visibility


@dataclass(frozen=True)
class Places:
    """Where published files lie: those of all, and those of private datanets."""

    public: ArtifactStore
    private: ArtifactStore

    def of(self, definition: Definition) -> ArtifactStore:
        """The one for a datanet's snapshots."""
        return self.private if definition.visibility is Visibility.PRIVATE else self.public

    def holding(self, digest: str) -> ArtifactStore | None:
        """The one that has a file of that SHA-256."""
        return next((place for place in (self.public, self.private) if place.has(digest)), None)


def publish(
    places: Places,
    snapshot: Snapshot,
    definition: Definition,
    owner: str,
    rows: Iterable[Row],
    firsts: Mapping[int, int] | None,
    salt: bytes,
) -> str:
    """Make the files and put them there, the manifest last; returns its SHA-256, hex.  Raises `OSError`.

    firsts, salt: see `openledger.snapshots.folder.make`.
    """
    place = places.of(definition)
    with tempfile.TemporaryDirectory(prefix="openledger-snapshot-") as work:
        made = folder.make(Path(work), _about(snapshot, definition, owner), rows, firsts, salt)
        for name in made:
            place.put_file(Path(work) / name)
    manifest = Manifest(
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
        files=made,
    )
    return place.put(manifest.to_bytes())


def remove_clusters(places: Places, manifest: str) -> None:
    """What a snapshot's files say of likeness goes, wherever it lies; again does no harm.  Raises `OSError`."""
    place = places.holding(manifest)
    if place is None:
        return
    clusters = Manifest.from_bytes(place.get(manifest)).files.get(CLUSTERS)
    if clusters is not None:
        place.remove(clusters.sha256)


def row(leaf: int, record: Record) -> Row:
    """What is published of a record."""
    return Row(leaf, record.name, record.contributor, record.licence, record.commitment.hex())


def _about(snapshot: Snapshot, definition: Definition, owner: str) -> About:
    return About(
        snapshot=snapshot.name,
        display_name=definition.display_name,
        description=definition.description,
        licence=snapshot.licence,
        licence_notice=definition.licence_notice,
        tags=definition.tags,
        owner=owner,
        create_time=snapshot.create_time,
        record_count=snapshot.record_count,
        contributor_count=snapshot.contributor_count,
        root=snapshot.root.hex(),
    )
