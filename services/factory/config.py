"""What the Factory is told: which base models it tunes, where it works, and how long a run may take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.kit.config import ServiceConfig


class FactoryConfig(ServiceConfig):
    """Environment `OPENLEDGER_FACTORY_*`."""

    service: ClassVar[str] = "factory"

    datanet: str = Field(description="host:port of the Datanet, where snapshots are read")
    bases: Annotated[tuple[str, ...], NoDecode] = Field(
        ("smollm2-135m-instruct",),
        description="base models that may be tuned, by name or folder; comma-separated in the environment",
    )
    executor_dir: Path | None = Field(None, description="folder of the workers' outputs; default: executor in data_dir")
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1024,
        description="threads of a run; another number gives another adapter, since sums round differently",
    )
    precision: Literal["fastest", "float32", "bfloat16"] = Field(
        "fastest", description="of fine-tunes that ask for none; fastest is what this machine's CPU is fastest in"
    )
    max_seconds: float = Field(6 * 3600, gt=0, description="longest training of one fine-tune, start to end")
    max_read_seconds: float = Field(600, gt=0, description="longest reading of a snapshot, a Datanet away included")

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

    @property
    def executor_root(self) -> Path:
        """Where workers put what they made."""
        return self.executor_dir or self.data_dir / "executor"

    @property
    def records_root(self) -> Path:
        """Where the records of snapshots that were read are kept.  They are people's texts: never published."""
        return self.data_dir / "records"
