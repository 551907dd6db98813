"""What the Factory is told: which base models it tunes, on what terms, where it works, and how long a run may take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import NoDecode

from services.factory import licence_terms
from services.kit.config import ServiceConfig
from services.kit.executor_open import PATTERN, room


class LicenceConfig(BaseModel):
    """What the operator, having read a licence that is not known here, says that it asks."""

    derivatives: bool = Field(description="something made from it may be passed on")
    commercial: bool = Field(description="commercial use is allowed")
    attribution: bool = Field(True, description="its source must be named")
    share_alike: bool = Field(False, description="what is made from it must be passed on under itself")

    model_config = ConfigDict(frozen=True, extra="forbid")


class FactoryConfig(ServiceConfig):
    """Environment `OPENLEDGER_FACTORY_*`."""

    service: ClassVar[str] = "factory"

    datanet: str = Field(description="host:port of the Datanet, where snapshots are read")
    bases: Annotated[tuple[str, ...], NoDecode] = Field(
        ("smollm2-135m-instruct",),
        description="base models that may be tuned, by name in the registry; comma-separated in the environment",
    )
    licences: dict[str, LicenceConfig] = Field(
        {}, description="terms of licences that are not known here, such as LicenseRef-...; JSON in the environment"
    )
    signing_key_file: Path | None = Field(None, description="lineage manifests are signed with it; None: in data_dir")
    price_per_1k_tokens: int = Field(0, ge=0, description="atomic units for 1,000 trained tokens, told in estimates")
    executor: str = Field(
        "local", pattern=PATTERN, description="where workers run: local, ray:auto, ray:host:port or ray://host:port"
    )
    executor_dir: Path | None = Field(
        None,
        description="folder of the workers' outputs; default: executor in data_dir. With Ray, every node sees this and "
        "data_dir under the same paths",
    )
    worker_memory_mib: int | None = Field(
        None,
        ge=1024,
        description="memory that one worker may write to; None: on this machine its part of all, on Ray no limit",
    )
    worker_gpus: float = Field(0, ge=0, description="GPUs of one worker on a Ray cluster")
    retrainings_at_once: int = Field(
        1,
        ge=1,
        le=1024,
        description="further trainings of a fine-tune that run at once, each a worker: without some contributors, or "
        "for those whom none has followed yet",
    )
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1024,
        description="threads of a run; another number gives another adapter, since sums round differently",
    )
    precision: Literal["fastest", "float32", "bfloat16"] = Field(
        "fastest", description="of fine-tunes that ask for none; fastest is what this machine's CPU is fastest in"
    )
    record_sketches: Literal["adam", "gradient", "tensor"] = Field(
        "adam", description="metric of records' sketches, which decides the scorers that records can be ranked by"
    )
    max_unfinished_per_account: int = Field(
        8, ge=1, le=1000, description="fine-tunes of one account that may wait or run at once"
    )
    keep_days: float = Field(
        30, gt=0, description="how long workers' outputs and read snapshots are kept that no unfinished fine-tune needs"
    )
    combined_rank: int = Field(
        16, ge=2, le=512, description="highest rank of a combination of revisions; not above MAX_RANK of OpenLoRA"
    )
    combined_index_bytes: int = Field(
        2**29, ge=2**20, description="most bytes of a combination's contribution indexes, which are made in memory"
    )
    max_seconds: float = Field(6 * 3600, gt=0, description="longest training of one fine-tune, start to end")
    max_read_seconds: float = Field(600, gt=0, description="longest reading of a snapshot, a Datanet away included")
    register_poll_seconds: float = Field(
        10, gt=0, description="how often to look for published revisions that are not on chain yet"
    )
    register_backoff_seconds: float = Field(10, gt=0, description="longest pause before a registration is tried again")
    register_wait_seconds: float = Field(60, gt=0, description="how long one try waits for the chain")

    @field_validator("datanet")
    @classmethod
    def _datanet_host_port(cls, value: str) -> str:
        return cls._host_port(value)

    @field_validator("bases", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("bases")
    @classmethod
    def _at_least_one(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("must name at least one base model")
        return value

    @field_validator("licences")
    @classmethod
    def _of_ones_own(cls, value: dict[str, LicenceConfig]) -> dict[str, LicenceConfig]:
        known = sorted(key for key in value if licence_terms.known(key) is not None)
        if known:
            raise ValueError(f"what {', '.join(known)} asks is known and not the operator's to say")
        return value

    @property
    def licence_terms(self) -> Mapping[str, licence_terms.Terms]:
        """The operator's licences, as the gate takes them."""
        return {key: licence_terms.own(key=key, **dict(said)) for key, said in self.licences.items()}

    @property
    def key_file(self) -> Path:
        """The signing key."""
        return self.signing_key_file or self.data_dir / "signing.key"

    @property
    def at_once(self) -> int:
        """Trainings again that do run at once: on this machine no more than it has cores for."""
        here = self.executor == "local"
        return min(self.retrainings_at_once, room(self.threads)) if here else self.retrainings_at_once

    @property
    def executor_root(self) -> Path:
        """Where workers put what they made."""
        return self.executor_dir or self.data_dir / "executor"

    @property
    def records_root(self) -> Path:
        """Where the records of snapshots that were read are kept.  They are people's texts: never published."""
        return self.data_dir / "records"

    @property
    def private_root(self) -> Path:
        """Where revisions' private files are kept.  People's texts are in them: never published."""
        return self.data_dir / "private"
