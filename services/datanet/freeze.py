"""The verb "freeze": when a datanet's records make a new snapshot, and the proof that a record is in one."""

from __future__ import annotations

from collections.abc import Sequence

from openledger import merkle, records
from openledger.snapshots.documents import Entry
from services.datanet.model import Datanet, Snapshot
from services.kit.errors import precondition


def new_root(datanet: Datanet, commitments: Sequence[bytes], last: Snapshot | None) -> bytes:
    """Root of the next snapshot.  Raises `Fault` when there would be nothing in it, or nothing new."""
    if not commitments:
        raise precondition(
            "EMPTY_SNAPSHOT", f"{datanet.name} has no accepted records yet: contribute some, then cut a snapshot"
        )
    root = records.snapshot_root(commitments)
    if last is not None and last.root == root:
        raise precondition(
            "NOTHING_NEW", f"{last.name} holds exactly these records already: use that one", snapshot=last.name
        )
    return root


def proof(commitments: Sequence[bytes], leaf: int) -> list[bytes]:
    """The sibling hashes from a leaf to the root (RFC 6962)."""
    return merkle.inclusion_proof(commitments, leaf)


def entry(snapshot: Snapshot) -> Entry:
    """A snapshot with its manifest, as its datanet's log holds it."""
    return Entry(
        snapshot=snapshot.name,
        root=snapshot.root.hex(),
        record_count=snapshot.record_count,
        contributor_count=snapshot.contributor_count,
        licence=snapshot.licence,
        create_time=snapshot.create_time,
        manifest=snapshot.manifest,
    )
