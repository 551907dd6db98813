"""What follows when a contributor erases a record: nothing new is made from it, and what was made says so.

What is kept here of its snapshots is removed, fine-tunes that have not ended are failed, and published revisions are
flagged.  The weights of an adapter cannot be asked to forget: whether it is retired, its owner decides.  What a worker
still writes meanwhile is seen to when its fine-tune has ended (`services.factory.forget`).
"""

from __future__ import annotations

import asyncio
import io
import mmap
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from openledger import canonical
from openledger.artifacts import ArtifactStore
from services.factory import store, store_revisions, store_snapshots
from services.factory.lineage import PRIVATE_EVALUATION, TRUNK
from services.factory.model import State
from services.factory.read import erased
from services.factory.write import TRAINING
from services.kit.database import Database
from services.kit.private_files import PrivateFiles


def note(c: Connection, record: str, reason: str, also: Collection[str] = ()) -> list[str]:
    """Remember an erased record, with all that follows in the database; returns the revisions that are flagged.

    also: revisions that whoever erases knows to be made from it.
    """
    store_snapshots.add_erased(c, record, reason)
    pins = store_snapshots.snapshots_with(c, record)
    store_snapshots.forget_snapshots(c, pins)
    for job in store.unfinished(c):
        hit = sorted(pin.name for pin in pins.intersection(job.snapshots))
        if hit and store_snapshots.takes(c, job.id, record):
            said = erased(record, hit[0])
            store.move(c, job.id, State.FAILED, said.message, reason=said.reason, message=said.message)
    made = [*dict.fromkeys((*store_revisions.made_from(c, pins, record), *also))]
    flagged = [*dict.fromkeys((*made, *store_revisions.combined_from(c, made)))]
    for revision in flagged:
        store_revisions.flag(c, revision, record, reason)
    return flagged


async def purge(database: Database, kept: ArtifactStore, private: PrivateFiles, workers: Path, record: str) -> None:
    """Remove the texts: kept files that hold an erased record, evaluations that may quote it, activations of it.

    Also the private files of revisions that were made from it.  workers: the folder of all that workers made.  Call it
    after `note`'s transaction; again does no harm.
    """
    outputs, revisions = await database.read(lambda c: _made(c, record))
    await asyncio.to_thread(_purge, kept, workers, record, outputs)
    for revision in revisions:
        await asyncio.to_thread(private.remove, revision.rpartition("/")[2])


def _made(c: Connection, record: str) -> tuple[list[str], list[str]]:
    """Folders of what was trained on an erased record, and the revisions of it."""
    pins = store_snapshots.snapshots_with(c, record)
    made = store.revisions_of(c, pins, record)
    return store.outputs(c, pins, record), [*made, *store_revisions.flagged_for(c, record)]


def remove_texts(kept: ArtifactStore, record: str) -> None:
    """Remove the kept files that hold a record."""
    sign = b'"record":' + canonical.dumps(record) + b"}\n"  # how a line of `services.factory.lines` ends
    for file in sorted((kept.root / "sha256").glob("*/[0-9a-f]*")):  # who is still writing looks again afterwards
        with suppress(FileNotFoundError):  # removed by another call at this very moment
            if _holds(file, sign):
                file.unlink()


def _purge(kept: ArtifactStore, workers: Path, record: str, outputs: Iterable[str]) -> None:
    remove_texts(kept, record)
    key = canonical.dumps(record) + b":"  # in the header of safetensors
    for file in sorted(workers.rglob(TRUNK)):
        with suppress(FileNotFoundError):  # taken away meanwhile, since its fine-tune has ended
            if _holds(file, key):
                file.unlink()
    for file in sorted(workers.rglob(PRIVATE_EVALUATION)):  # also of a fine-tune that failed after its run
        with suppress(FileNotFoundError):
            if _holds(file.with_name(TRAINING), canonical.dumps(record)):
                file.unlink()
    for output in outputs:
        (Path(output) / PRIVATE_EVALUATION).unlink(missing_ok=True)


def _holds(file: Path, sign: bytes) -> bool:
    """Without reading a large file into memory."""
    with file.open("rb") as stream:
        if stream.seek(0, io.SEEK_END) == 0:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return view.find(sign) >= 0
