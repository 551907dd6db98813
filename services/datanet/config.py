"""What the datanet service is told."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from services.kit.config import ServiceConfig

_RECORD_MEMORY = 10 * 2**10
"""Most bytes that a record of an upload takes beside its text, and what is suggested for it."""


class DatanetConfig(ServiceConfig):
    """Limits that hold for every datanet, whatever its owner's policy says, and how roots are anchored."""

    service: ClassVar[str] = "datanet"

    ledger: str = Field(min_length=1, description="host:port of the ledger: issues the sessions, anchors the roots")
    factory: str = Field("", description="host:port of the factory, which is told of erased records; empty: of no one")
    max_rpc_seconds: float = Field(600, gt=0, description="longest answer; a whole upload over a slow line is one")

    max_record_bytes: int = Field(256 * 2**10, ge=256, le=2**20, description="canonical bytes of one record")
    max_upload_records: int = Field(10_000, ge=1, le=10_000, description="records under one declaration")
    max_upload_bytes: int = Field(64 * 2**20, ge=2**10, description="canonical bytes of one upload")
    max_uploads_bytes: int = Field(512 * 2**20, ge=2**10, description="memory for all uploads in hand")

    vault_key_file: Path | None = Field(
        None, description="opens what records say; keys/vault.key in data_dir by default"
    )

    shares_dir: Path | None = Field(
        None, description="folder of the shares of records' keys, which are overwritten; shares in data_dir by default"
    )
    erased_file: Path | None = Field(
        None, description="list of erased records, to be kept apart from backups; erased.jsonl in data_dir by default"
    )
    snapshots_dir: Path | None = Field(
        None, description="folder of the files of private datanets' snapshots; snapshots in data_dir by default"
    )

    max_account_records: int = Field(100_000, ge=1, description="records that an account may give, in all datanets")
    max_account_bytes: int = Field(2**30, ge=2**10, description="their canonical bytes together")
    max_datanets_per_owner: int = Field(100, ge=1, description="datanets that an account may own")
    max_snapshots_a_day: int = Field(
        100, ge=1, description="snapshots in 24 hours of all datanets of an owner; each is a transaction we pay for"
    )
    max_members: int = Field(
        10_000, ge=1, description="members of a datanet, those invited and those who asked included"
    )
    max_file_bytes: int = Field(64 * 2**20, ge=1, le=64 * 2**20, description="bytes of one file to be taken apart")
    max_files_bytes: int = Field(512 * 2**20, ge=1, description="bytes of all files in hand and of what they hold")
    max_file_records: int = Field(50_000, ge=1, description="records that are found in one file")
    parse_seconds: float = Field(60.0, gt=0, description="how long one file may be looked at")
    parse_workers: int = Field(2, ge=1, le=64, description="files that are looked at at once, each in a process")
    parse_memory_bytes: int = Field(2**30, ge=2**28, description="address space of such a process")

    check_seconds: float = Field(30.0, gt=0, description="how long some 64 kB of records may be looked at")
    check_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that look at records, 260 MB each; started when a datanet asks for checks",
    )
    check_memory_bytes: int = Field(2 * 2**30, ge=2**29, description="address space of such a process")

    anchor_poll_seconds: float = Field(1.0, gt=0, description="how often to look for snapshots to publish or anchor")
    anchor_backoff_seconds: float = Field(10.0, gt=0, description="longest pause before an anchoring is tried again")
    anchor_wait_seconds: float = Field(600.0, gt=0, description="how long to wait for one root's way onto the chain")

    @property
    def vault_key(self) -> Path:
        """Where the key is that opens what records say."""
        return self.vault_key_file or self.data_dir / "keys" / "vault.key"

    @property
    def shares(self) -> Path:
        """Where the parts of records' keys are that no database holds."""
        return self.shares_dir or self.data_dir / "shares"

    @property
    def erased(self) -> Path:
        """Where the list of erased records is, which stays while database and shares are put back from copies."""
        return self.erased_file or self.data_dir / "erased.jsonl"

    @property
    def snapshots(self) -> Path:
        """Where the files of private datanets' snapshots are."""
        return self.snapshots_dir or self.data_dir / "snapshots"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        least = 4 * self.max_upload_bytes + self.max_upload_records * _RECORD_MEMORY
        if self.max_uploads_bytes < least:
            raise ValueError(
                f"max_uploads_bytes must be at least {least}, for one upload of max_upload_bytes, max_upload_records: "
                "its texts, three times what is suggested for them, and what each record takes beside"
            )
        if self.max_files_bytes < 2 * self.max_file_bytes:
            raise ValueError("max_files_bytes must be at least twice max_file_bytes: a file, and what is found in it")
        if self.max_message_bytes < 4 * self.max_record_bytes:
            raise ValueError("max_message_bytes must be at least 4 times max_record_bytes, to carry pages of records")
        return self
