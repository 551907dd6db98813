"""The Factory's tables.  What is in them, `services.factory.model` says."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from services.kit.idempotency import idempotency_table

METADATA = MetaData()
idempotency_table(METADATA)

# SQLite numbers rows by itself only in a column that is INTEGER to the letter.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")
_TIME = DateTime(timezone=True)

FINE_TUNE = Table(
    "fine_tune",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("adapter", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("snapshots", Text, nullable=False),
    Column("base_sha256", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("use", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("attributions", Text, nullable=False),
    Column("clone_of", Text, nullable=False),
    Column("replaces", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("records", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("audit_output", Text, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("revision", Text, nullable=False),
    Column("metrics", Text),
    Column("trained_tokens", BigInteger, nullable=False),
    Column("training_seconds", Float(53), nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("create_time", _TIME, nullable=False),
    Column("start_time", _TIME),
    Column("estimated_finish", _TIME),
    Column("end_time", _TIME),
    Index("fine_tune_of_owner", "owner", "number"),
    Index("fine_tune_in_state", "state", "number"),
)
EVENT = Table(
    "event",
    METADATA,
    Column("fine_tune", Text, ForeignKey("fine_tune.id"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time", _TIME, nullable=False),
    Column("state", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("step", Integer),
    Column("steps", Integer),
    Column("loss", Float(53)),
    Column("tokens_per_second", Float(53)),
    Column("seconds_left", Float(53)),
    Column("tokens", BigInteger),
    Column("valid_loss", Float(53)),
    Column("valid_mean_token_accuracy", Float(53)),
)
CHECKPOINT = Table(
    "checkpoint",
    METADATA,
    Column("fine_tune", Text, ForeignKey("fine_tune.id"), primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("time", _TIME, nullable=False),
    Column("train_loss", Float(53)),
    Column("valid_loss", Float(53), nullable=False),
    Column("valid_mean_token_accuracy", Float(53)),
    Column("trained_tokens", BigInteger),
)
ADAPTER = Table("adapter", METADATA, Column("id", Text, primary_key=True), Column("owner", Text, nullable=False))
REVISION = Table(
    "revision",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("adapter", Text, ForeignKey("adapter.id"), nullable=False),
    Column("fine_tune", Text, ForeignKey("fine_tune.id")),
    Column("manifest", LargeBinary, nullable=False),
    Column("metrics", Text),
    Column("create_time", _TIME, nullable=False),
    Column("card", Text, nullable=False),
    Column("deprecate_time", _TIME),
    Column("deprecate_reason", Text, nullable=False),
    Column("replaced_by", Text, nullable=False),
    Column("registration", Text),
    Column("published", Boolean, nullable=False),
    Index("revision_of_adapter", "adapter", "number"),
)
FLAG = Table(
    "revision_flag",
    METADATA,
    Column("revision", Text, ForeignKey("revision.name"), primary_key=True),
    Column("record", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("time", _TIME, nullable=False),
)
COMBINED = Table(
    "combined_revision",
    METADATA,
    Column("revision", Text, ForeignKey("revision.name"), primary_key=True),
    Column("parent", Text, ForeignKey("revision.name"), primary_key=True),
    Index("combined_revision_of_parent", "parent"),
)
SNAPSHOT = Table(
    "snapshot",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("root", Text, primary_key=True),
    Column("records", Text, nullable=False),
)
SNAPSHOT_RECORD = Table(
    "snapshot_record",
    METADATA,
    Column("record", Text, primary_key=True),
    Column("snapshot", Text, primary_key=True),
    Column("root", Text, primary_key=True),
    Index("snapshot_record_of_snapshot", "snapshot", "root"),
)
LEFT_OUT = Table(
    "left_out_record",
    METADATA,
    Column("fine_tune", Text, ForeignKey("fine_tune.id"), primary_key=True),
    Column("record", Text, primary_key=True),
)
ERASED = Table(
    "erased_record",
    METADATA,
    Column("record", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("time", _TIME, nullable=False),
)
