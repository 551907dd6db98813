"""Which executor a service's configuration asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from services.kit.executor_folder import FolderExecutor
from services.kit.executor_local import LocalExecutor

PATTERN = r"^(local|ray:\S+)$"
"""`local`; `ray:auto` or `ray:host:port` where this machine is a node of the cluster; `ray://host:port` elsewhere."""


def room(cpus: int) -> int:
    """How many workers of so many cores each run at once on this machine: at least one."""
    return max(1, (os.cpu_count() or 1) // cpus)


def open_executor(
    where: str,
    root: Path,
    *,
    environment: Mapping[str, str] | None = None,
    cpus: int = 1,
    gpus: float = 0,
    memory: int | None = None,
) -> FolderExecutor:
    """The executor at `where`, see `PATTERN`; whoever opens it closes it.  Raises `ValueError`, `ConnectionError`.

    root: where outputs are; with Ray, the same folder on every node.  cpus, gpus, memory (bytes): of one worker.  On
    this machine as many run at once as its cores allow, at least one.
    """
    if not re.match(PATTERN, where):
        raise ValueError(f"an executor is local, ray:auto, ray:host:port or ray://host:port, not {where}")
    if where == "local":
        return LocalExecutor(root, environment=environment, at_once=room(cpus), memory=memory)
    try:
        from services.kit.executor_ray import RayExecutor
    except ModuleNotFoundError as error:
        raise ConnectionError(f"{where} needs Ray, which is not installed: pip install 'openledger[ray]'") from error
    address = where if where.startswith("ray://") else where.removeprefix("ray:")
    return RayExecutor(root, address, environment=environment, cpus=cpus, gpus=gpus, memory=memory)
