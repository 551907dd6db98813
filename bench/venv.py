"""Virtual environments of libraries whose requirements are not ours, each with exact versions and kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def python(place: Path, packages: Sequence[str]) -> str:
    """The Python of a venv that has exactly these packages, made where there is none. Raises as ``run``."""
    found, complete = str(place / "bin" / "python"), place / "complete"
    if not complete.exists() or complete.read_text() != "\n".join(packages):
        run([sys.executable, "-m", "venv", "--clear", str(place)])
        run([found, "-m", "pip", "install", "-q", "--no-deps", *packages])
        complete.write_text("\n".join(packages))
    return found


def run(command: Sequence[str], given: str = "") -> str:
    """What a command prints. Raises CalledProcessError, with what it said of errors, and OSError."""
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
