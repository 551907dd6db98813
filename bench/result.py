"""The form of a result: bench/results/<script>.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def write(
    name: str, figures: dict[str, float], *, seed: int, settings: dict[str, Any], rows: list[Any] | None = None
) -> Path:
    """Write a result; returns its file."""
    result = {
        "name": name,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "seed": seed,
        "settings": settings,
        "figures": figures,
        "rows": rows or [],
    }
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    return file


def commit() -> str:
    """What is measured."""
    told = subprocess.run(("git", "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def machine() -> dict[str, Any]:
    """What it was measured on."""
    model = next(
        (line.split(": ", 1)[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 2**30),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
