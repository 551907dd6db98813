"""Read a snapshot, believing nothing: every record is committed to again, and the root must be the anchored one.

What passes is one file (`services.factory.lines`), kept under its SHA-256 in the Factory's own store.  A stream that
breaks goes on where it stopped.  Does not know what the records are read for.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import IO

from openledger import records
from openledger.artifacts import ArtifactStore
from services.factory.lines import line
from services.factory.model import JobFailed
from services.factory.source import SnapshotSource, SourceRecord, SourceUnavailable
from services.kit.errors import Fault

_PAUSE_FIRST, _PAUSE_MOST = 0.2, 5.0


async def read_snapshot(source: SnapshotSource, name: str, root: str, kept: ArtifactStore, patience: float) -> str:
    """Digest of the snapshot's records in `kept`.

    root: hex, what the records must add up to; patience: seconds.
    Raises `JobFailed`: ROOT_MISMATCH, DATANET_UNAVAILABLE, SNAPSHOT_NOT_FOUND, SNAPSHOT_REFUSED; `OSError`.
    """
    kept.root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.root, prefix=".reading-") as file:
        commitments = await _receive(source, name, file, time.monotonic() + patience)
        file.flush()
        found = await asyncio.to_thread(records.snapshot_root, commitments)
        if found.hex() != root:
            raise JobFailed(
                "ROOT_MISMATCH",
                f"the {len(commitments)} records that the Datanet sent for {name} have the root {found.hex()}, "
                f"the snapshot's is {root}: they are not the records that were frozen",
            )
        return await asyncio.to_thread(kept.put_file, Path(file.name))


async def _receive(source: SnapshotSource, name: str, file: IO[bytes], deadline: float) -> list[bytes]:
    commitments: list[bytes] = []
    pause = _PAUSE_FIRST
    while True:
        before = len(commitments)
        try:
            async for record in source.records(name, before):
                commitments.append(_checked(record, name, len(commitments)))
                file.write(line(record.name, record.contributor, record.fields))
            return commitments
        except SourceUnavailable as error:
            if len(commitments) > before:
                pause = _PAUSE_FIRST
            if time.monotonic() + pause > deadline:
                raise JobFailed(
                    "DATANET_UNAVAILABLE", f"{name} could not be read to its end ({error}); try again later"
                ) from error
        except Fault as fault:
            raise JobFailed(fault.reason, fault.message) from fault
        except ValueError as error:
            raise JobFailed("ROOT_MISMATCH", f"the Datanet sent a record of {name} that is none: {error}") from error
        await asyncio.sleep(pause)
        pause = min(_PAUSE_MOST, pause * 2)


def _checked(record: SourceRecord, name: str, leaf: int) -> bytes:
    """The record's commitment.  Raises `ValueError`, `JobFailed`."""
    if record.leaf != leaf:
        raise JobFailed(
            "ROOT_MISMATCH", f"the Datanet sent leaf {record.leaf} of {name} where leaf {leaf} was expected"
        )
    body = records.canonical_bytes(record.contributor, record.fields, record.source)
    return records.commitment(record.salt, body)
