"""Read a snapshot, believing nothing: every record is committed to again, and the root must be the anchored one.

What passes is one file (`services.factory.lines`), kept under its SHA-256 in the Factory's own store.  A stream that
breaks goes on where it stopped.  Does not know what the records are read for.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from openledger import records
from openledger.artifacts import ArtifactStore
from services.factory.lines import line
from services.factory.model import JobFailed
from services.factory.run import SnapshotPin
from services.factory.source import RecordSource, SourceRecord, SourceUnavailable
from services.kit.errors import Fault
from services.kit.wait import to_its_end

READING = ".reading-"
"""How a file begins that is not whole yet."""
_PAUSE_FIRST, _PAUSE_MOST = 0.2, 5.0
_COMMITMENT = 32
"""Bytes."""


@dataclass(frozen=True)
class ReadSnapshot:
    """A snapshot whose records are what was frozen."""

    digest: str
    """Of its records in the Factory's own store."""
    names: tuple[str, ...]
    """Of its records, in leaf order."""


@dataclass
class _Received:
    only: Collection[str] | None
    commitments: list[bytes] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, record: SourceRecord, snapshot: str) -> bool:
        """Whether it is taken.  Raises `ValueError`, `JobFailed`."""
        taken = self.only is None or record.name in self.only
        self.commitments.append(_checked(record, snapshot, len(self.commitments), taken))
        if not taken:
            return False
        self.names.append(record.name)
        return True


async def read_snapshot(
    source: RecordSource,
    pin: SnapshotPin,
    kept: ArtifactStore,
    patience: float,
    only: Collection[str] | None = None,
) -> ReadSnapshot:
    """Put a snapshot's records into `kept`; they must add up to the root that it is pinned to.  patience: seconds.

    only: names of the records that are taken; of others that are erased the commitment is enough.

    Raises `JobFailed`: ROOT_MISMATCH, RECORD_ERASED, DATANET_UNAVAILABLE, SNAPSHOT_NOT_FOUND, SNAPSHOT_REFUSED;
    `OSError`.
    """
    kept.root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.root, prefix=READING) as file:
        received = await _receive(source, pin.name, file, time.monotonic() + patience, _Received(only))
        file.flush()
        found = await asyncio.to_thread(records.snapshot_root, received.commitments)
        if found.hex() != pin.root:
            raise JobFailed(
                "ROOT_MISMATCH",
                f"the {len(received.commitments)} records that the Datanet sent for {pin.name} have the root "
                f"{found.hex()}, the snapshot's is {pin.root}: they are not the records that were frozen",
            )
        digest = await to_its_end(kept.put_file, Path(file.name))
        return ReadSnapshot(digest, tuple(received.names))


async def _receive(source: RecordSource, name: str, file: IO[bytes], deadline: float, received: _Received) -> _Received:
    pause = _PAUSE_FIRST
    while True:
        before = len(received.commitments)
        try:
            async for record in source.records(name, before):
                if received.add(record, name):
                    file.write(line(record.name, record.contributor, record.fields))
            return received
        except SourceUnavailable as error:
            if len(received.commitments) > before:
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


def _checked(record: SourceRecord, name: str, leaf: int, taken: bool) -> bytes:
    """The record's commitment.  Raises `ValueError`, `JobFailed`."""
    if record.leaf != leaf:
        raise JobFailed(
            "ROOT_MISMATCH", f"the Datanet sent leaf {record.leaf} of {name} where leaf {leaf} was expected"
        )
    if not record.salt and not taken and len(record.commitment) == _COMMITMENT:
        return record.commitment  # erased; if it were not the leaf that was frozen, the root would say so
    if not record.salt:
        raise erased(record.name, name)
    body = records.canonical_bytes(record.contributor, record.fields, record.source)
    return records.commitment(record.salt, body)


def erased(record: str, snapshot: str) -> JobFailed:
    """What is said where a record of a snapshot is not there any more."""
    return JobFailed(
        "RECORD_ERASED",
        f"{record} was erased after {snapshot} was frozen, and nothing may be trained on it any more: take a snapshot "
        "that was cut after that",
    )
