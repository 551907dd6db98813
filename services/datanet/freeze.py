"""The verb "freeze": when a datanet's records make a new snapshot."""

from __future__ import annotations

from collections.abc import Sequence

from openledger import records
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
