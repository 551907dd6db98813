"""What the Factory keeps: fine-tunes, what happened to them, and published adapter revisions.

Plain values between the verbs and the store.  They know neither protos nor tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.factory.licence import Attribution, Use
from services.factory.run import Replacement, Run, SnapshotPin
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
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    """Shares of the held-out answers' tokens that were the model's first choice."""
    verdict: str = ""
    """Whether tuning helped, in words; empty where it was not judged."""
    peak_memory_bytes: int = 0
    """Of the worker; 0 where it was not measured."""
    audit: str = ""
    """How well the paid scores agree with really training again, in words; empty where that was not asked for."""

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
    snapshots: tuple[SnapshotPin, ...]
    """Sorted by name, with roots."""
    base_sha256: str
    threads: int
    create_time: datetime
    use: Use = Use.COMMERCIAL
    licence: str = ""
    """Of the adapter, as an SPDX expression; empty in fine-tunes of before there was a gate."""
    attributions: tuple[Attribution, ...] = ()
    """Who must be named beside the adapter."""
    clone_of: str = ""
    """fineTunes/{fine_tune}, or empty."""
    replaces: Replacement | None = None
    """The published run that this one takes again without somebody."""
    state: State = State.QUEUED
    reason: str = ""
    message: str = ""
    attempts: int = 0
    """Workers that died under it."""
    records: str = ""
    """Digest of the verified records of all snapshots, each once, when they were read."""
    output: str = ""
    """Folder of the trained files, once it succeeded."""
    audit_output: str = ""
    """Folder of what the trainings again gave, where there were any."""
    manifest: bytes = b""
    """The lineage manifest, once it succeeded."""
    revision: str = ""
    metrics: Metrics | None = None
    trained_tokens: int = 0
    """So far."""
    training_seconds: float = 0.0
    """That its training took so far, in all lives of the service."""
    start_time: datetime | None = None
    """When it left the line."""
    estimated_finish: datetime | None = None
    """While it trains."""
    end_time: datetime | None = None

    @property
    def name(self) -> str:
        return f"fineTunes/{self.id}"

    @property
    def run(self) -> Run:
        """What was asked for, pinned."""
        return Run(self.adapter, self.snapshots, self.spec, self.use, self.base_sha256, self.replaces)


@dataclass(frozen=True)
class TrainingProgress:
    """How far training is; `None` where it cannot be said yet, or was not measured this time."""

    step: int
    steps: int
    loss: float | None = None
    """Of the last batch, in nats per token."""
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    tokens: int | None = None
    """Trained so far."""
    valid_loss: float | None = None
    """Of the records that were held out, measured after this step."""
    valid_mean_token_accuracy: float | None = None

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> TrainingProgress:
        """Of a worker's report, which may say more than is shown."""
        return cls(**{field.name: report[field.name] for field in fields(cls) if field.name in report})


@dataclass(frozen=True)
class Event:
    """Something that happened to a fine-tune.  Sequences start at 1 and have no gaps."""

    sequence: int
    time: datetime
    state: State
    message: str
    progress: TrainingProgress | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A step after which the held-out records were measured."""

    step: int
    time: datetime
    train_loss: float | None
    valid_loss: float
    valid_mean_token_accuracy: float | None
    trained_tokens: int | None


@dataclass(frozen=True)
class Flag:
    """That a record which an adapter was made from is erased."""

    record: str
    """datanets/{datanet}/records/{record}"""
    reason: str
    time: datetime


@dataclass(frozen=True)
class Registration:
    """Where a revision stands on chain."""

    chain_id: int
    contract: str
    transaction: str
    block: int


@dataclass(frozen=True)
class Revision:
    """A published adapter revision."""

    name: str
    """adapters/{adapter}/revisions/{digest of the manifest}"""
    adapter: str
    fine_tune: str | None
    """None of a combination, which was not trained."""
    manifest: bytes
    metrics: Metrics | None
    create_time: datetime
    card: str = ""
    """Digest of the model card; empty in revisions of before there were cards."""
    deprecate_time: datetime | None = None
    deprecate_reason: str = ""
    replaced_by: str = ""
    """The revision to be used in its stead, where its owner named one when it was deprecated."""
    flags: tuple[Flag, ...] = ()
    registration: Registration | None = None


class JobFailed(Exception):
    """A fine-tune cannot be finished.  `reason` is UPPER_SNAKE (docs/errors/factory.md), the message for its owner."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message
