"""Lines that are added to a file: what must be known longer than a database, which is put back from copies.

Several processes may add.  A line that was torn by a crash was not added; whoever wrote it adds it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from openledger.artifacts import sync_folder


def add(path: Path, lines: Iterable[str]) -> None:
    """On disk when this returns, in a file for its owner alone.  Raises `OSError`."""
    text = "".join(f"{line}\n" for line in lines)
    if not text:
        return
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = end > 0 and file.read(1) != b"\n"
        file.write(("\n" * torn + text).encode())
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def read(path: Path) -> list[str]:
    """All of them, torn ones too; none where there is no file.  Raises `OSError`."""
    try:
        # An empty one is none: what is being added by another looks torn for a moment, and gets an end too many.
        return [line for line in path.read_text(errors="replace").splitlines() if line]
    except FileNotFoundError:
        return []
