"""What the Factory keeps: fine-tunes, what happened to them, and published adapter revisions.

Plain values between the verbs and the store.  They know neither protos nor tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.factory.spec import FineTuneSpec


class State(StrEnum):
    """Where a fine-tune stands."""

    QUEUED = "QUEUED"
    READING = "READING"
    TRAINING = "TRAINING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


UNFINISHED = frozenset({State.QUEUED, State.READING, State.TRAINING})


@dataclass(frozen=True)
class Metrics:
    """What was measured.  Losses are means in nats per token, 0 where nothing was held out."""

    train_records: int
    held_out_records: int
    dropped: Mapping[str, int]
    contributors: int
    loss_before: float
    loss_after: float
    train_tokens: int
    """Tokens of all training records, times the epochs."""
    seconds: float
    """Of the worker that made the adapter, start to end."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class FineTune:
    """One fine-tune.  Everything that decides its bytes is pinned when it is created."""

    id: str
    owner: str
    """Lower-case address."""
    adapter: str
    spec: FineTuneSpec
    snapshot: str
    """datanets/{datanet}/snapshots/{version}"""
    snapshot_root: str
    """Hex."""
    base_sha256: str
    threads: int
    create_time: datetime
    state: State = State.QUEUED
    reason: str = ""
    message: str = ""
    attempts: int = 0
    """Workers that died under it."""
    records: str = ""
    """Digest of the verified records, once they were read."""
    output: str = ""
    """Folder of the trained files, once it succeeded."""
    manifest: bytes = b""
    """The lineage manifest, once it succeeded."""
    revision: str = ""
    metrics: Metrics | None = None
    end_time: datetime | None = None

    @property
    def name(self) -> str:
        return f"fineTunes/{self.id}"


@dataclass(frozen=True)
class TrainingProgress:
    """How far training is; `None` where it cannot be said yet."""

    step: int
    steps: int
    loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a fine-tune.  Sequences start at 1 and have no gaps."""

    sequence: int
    time: datetime
    state: State
    message: str
    progress: TrainingProgress | None = None


@dataclass(frozen=True)
class Revision:
    """A published adapter revision."""

    name: str
    """adapters/{adapter}/revisions/{digest of the manifest}"""
    adapter: str
    fine_tune: str
    manifest: bytes
    metrics: Metrics
    create_time: datetime


class JobFailed(Exception):
    """A fine-tune cannot be finished.  `reason` is UPPER_SNAKE (docs/errors/factory.md), the message for its owner."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message
