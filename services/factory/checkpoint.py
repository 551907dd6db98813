"""A run's state on disk, so that a killed trainer goes on where it stopped and ends with the same bytes.

One file, replaced as a whole: it is there, of one moment, or it is not. This module knows neither training nor when a
checkpoint is worth its time.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from openledger.artifacts import sync_folder

FILE = "checkpoint.safetensors"


def save(folder: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Replace the folder's checkpoint. Raises OSError, and leaves the earlier one, where there is no room."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (FILE + ".partial")
    try:
        save_file(tensors, partial, metadata={"numbers": json.dumps(numbers)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(folder / FILE)
    sync_folder(folder)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The folder's checkpoint, or None where there is none that can be read: the run then starts from the beginning."""
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            numbers = json.loads(file.metadata()["numbers"])
            return {name: file.get_tensor(name) for name in file.keys()}, numbers  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def clone(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy that later steps do not change."""
    return {name: torch.clone(tensor) for name, tensor in tensors.items()}
