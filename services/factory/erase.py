"""What follows when a contributor erases a record: nothing new is made from it, and what was made says so.

What is kept here of its snapshots is removed, fine-tunes that have not ended are failed, and published revisions are
flagged.  The weights of an adapter cannot be asked to forget: whether it is retired, its owner decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from openledger import canonical
from openledger.artifacts import ArtifactStore
from services.factory import store, store_revisions, store_snapshots
from services.factory.lineage import PRIVATE_EVALUATION
from services.factory.model import State
from services.factory.read import erased


@dataclass(frozen=True)
class Traces:
    """What was made from an erased record: revisions that are flagged, folders of what was trained."""

    revisions: tuple[str, ...]
    outputs: tuple[Path, ...]


def note(c: Connection, record: str, reason: str, also: Collection[str] = ()) -> Traces:
    """Remember an erased record, with all that follows in the database.

    also: revisions that whoever erases knows to be made from it.
    """
    store_snapshots.add_erased(c, record, reason)
    pins = store_snapshots.snapshots_with(c, record)
    store_snapshots.forget_snapshots(c, pins)
    for job in store.unfinished(c):
        if hit := sorted(pin.name for pin in pins.intersection(job.snapshots)):
            said = erased(record, hit[0])
            store.move(c, job.id, State.FAILED, said.message, reason=said.reason, message=said.message)
    flagged = [*dict.fromkeys((*store_revisions.made_from(c, pins), *also))]
    for revision in flagged:
        store_revisions.flag(c, revision, record, reason)
    return Traces(tuple(flagged), tuple(map(Path, store.outputs(c, pins))))


async def purge(kept: ArtifactStore, record: str, traces: Traces) -> None:
    """Remove the texts: kept files that hold the record, and evaluations that may quote it.

    Call it after `note`'s transaction; again does no harm.
    """
    await asyncio.to_thread(_purge, kept, record, traces)


def _purge(kept: ArtifactStore, record: str, traces: Traces) -> None:
    sign = b'"record":' + canonical.dumps(record) + b"}\n"  # how a line of `services.factory.lines` ends
    for file in sorted((kept.root / "sha256").glob("*/*")):
        if sign in file.read_bytes():
            file.unlink(missing_ok=True)
    for output in traces.outputs:
        (output / PRIVATE_EVALUATION).unlink(missing_ok=True)
