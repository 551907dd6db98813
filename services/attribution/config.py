"""What Attribution is told: where traces and terms come from, which base model it measures with, and with which key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, field_validator

from openledger import names
from services.attribution import addresses
from services.attribution.attribute import MOST_TOKENS
from services.kit.config import ServiceConfig

Address = Annotated[str, AfterValidator(names.address)]


class AttributionConfig(ServiceConfig):
    """Environment `OPENLEDGER_ATTRIBUTION_*`."""

    service: ClassVar[str] = "attribution"

    openlora: str = Field(
        min_length=1,
        description="OpenLoRA's replicas, whose traces are attributed: host:port, or dns:host:port for every address "
        "that the name has; several with commas between them",
    )
    openlora_tls_name: str = Field("", description="what replicas' certificates are for, where dns: looks addresses up")
    ledger: str = Field(min_length=1, description="host:port of the ledger: sessions, the split in force, the platform")
    base: str = Field("smollm2-135m-instruct", min_length=1, description="base model by name, or a folder that is one")
    factory: str = Field("", description="host:port of the Factory, for what answers quote; empty: nothing is quoted")
    signing_key_file: Path | None = Field(None, description="receipts are signed with it; None: made in data_dir")
    operators: tuple[Address, ...] = Field((), description="may read dead letters, and what was asked and answered")
    trace_key_file: Path | None = Field(None, description="opens the sealed traces; traces.key in data_dir by default")
    forgotten_file: Path | None = Field(
        None,
        description="list of keys that payers took back, kept apart from backups; forgotten in data_dir by default",
    )
    trace_days: float = Field(90, gt=0, description="how long a trace is kept after its answer")

    threads: int = Field(1, ge=1, le=1024, description="of a gradient; one is the cheapest in CPU time")
    adapters_in_memory: int = Field(8, ge=1, le=1000, description="adapter revisions kept open")
    max_trace_tokens: int = Field(
        MOST_TOKENS, ge=1, description="of question and answer; what has more gets no receipt"
    )
    traces_per_batch: int = Field(1, ge=1, le=1000, description="traces whose receipts come out together")
    replicas_seconds: float = Field(5, gt=0, le=600, description="how often names of replicas are looked up")
    wait_seconds: float = Field(20, gt=0, le=60, description="how long one question for new traces waits")
    audit_bps: int = Field(100, ge=0, le=10_000, description="answers in 10,000 that are held against retraining")
    terms_seconds: float = Field(30, ge=0, description="how long the ledger's answer about split and platform is used")
    max_private_bytes: int = Field(16 * 2**30, ge=1, description="room for private files; those used last stay")
    private_check_seconds: float = Field(60, gt=0, description="between questions whether what is kept is erased")

    @field_validator("factory")
    @classmethod
    def _peer_host_port(cls, value: str) -> str:
        return cls._host_port(value)

    @field_validator("openlora")
    @classmethod
    def _places(cls, value: str) -> str:
        addresses.parse(value)
        return value

    @property
    def key_file(self) -> Path:
        """The signing key."""
        return self.signing_key_file or self.data_dir / "signing.key"

    @property
    def trace_key(self) -> Path:
        """Where the key is that opens the sealed traces."""
        return self.trace_key_file or self.data_dir / "traces.key"

    @property
    def forgotten(self) -> Path:
        """Where the names of payers' keys are that they took back, which stays while the database is put back."""
        return self.forgotten_file or self.data_dir / "forgotten"

    @property
    def private_root(self) -> Path:
        """Private files of revisions, fetched from the Factory.  Can be deleted at any time."""
        return self.data_dir / "private"

    @property
    def adapters_dir(self) -> Path:
        """Adapters taken out of the artifact store, in the layout that is loaded.  Can be deleted at any time."""
        return self.data_dir / "adapters"
