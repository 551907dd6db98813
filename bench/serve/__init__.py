"""OpenLoRA under load: what the service, its traces, its adapters and its fairness cost, and whether it stays whole.

    python -m bench serve                     everything: under an hour, on a machine that does nothing else
    python -m bench serve --part fair         one of PARTS (again to name several), anew; the others' rows stay
    python -m bench serve --quick             the same code on a tiny model, in about two minutes

The service is a process of its own with its engine, asked over gRPC from here; every ratio is of arms that take turns
within one run.  What was measured is kept under $OPENLEDGER_CACHE/serve, and the result is written after every part, so
a run that was stopped goes on with the parts that it has not, or has of another commit.  What each part does, and what
its figures mean, is said in its module and in docs/serving.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import result
from bench.serve.size import FULL, QUICK, Size
from openledger import canonical
from openledger.cache import cache_folder

PARTS = ("arms", "adapters", "fair", "replayed", "crash", "soak")
Kept = dict[str, Any]
"""Of a part: its rows, the commit, and how busy the machine was when it began and ended."""


def main(*, quick: bool, parts: Sequence[str] = ()) -> None:
    """Measure; writes bench/results/serve.json and serve.png, or those of serve-quick, after each part."""
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    size, name = (QUICK, "serve-quick") if quick else (FULL, "serve")
    folder = cache_folder("serve") / canonical.sha256(canonical.dumps(_settings(size)))[:12]
    folder.mkdir(parents=True, exist_ok=True)
    commit = result.commit()
    for part in parts or PARTS:
        if parts or kept(folder, part).get("commit") != commit:
            (folder / f"{part}.json").write_text(json.dumps(measured(part, size, commit)))
        print(write(name, size, folder))


def measured(part: str, size: Size, commit: str) -> Kept:
    """A part, measured now."""
    begun, load = time.monotonic(), os.getloadavg()[0]
    rows = asyncio.run(import_module(f"bench.serve.{part}").measure(size))
    for row in rows:
        print({"part": part, **row}, file=sys.stderr, flush=True)
    return {
        "rows": rows,
        "commit": commit,
        "seconds": round(time.monotonic() - begun, 1),
        "load_at_start": load,
        "load_at_end": os.getloadavg()[0],
    }


def kept(folder: Path, part: str) -> Kept:
    """What was measured of a part; nothing where it was not."""
    file = folder / f"{part}.json"
    found: Kept = json.loads(file.read_text()) if file.exists() else {}
    return found


def write(name: str, size: Size, folder: Path) -> Path:
    """The result of all parts that there are, and its picture."""
    from bench.serve import plots

    found = {part: there for part in PARTS if (there := kept(folder, part))}
    figures: dict[str, float] = {}
    for part, there in found.items():
        figures |= import_module(f"bench.serve.{part}").figures(there["rows"])
    about = {part: {key: value for key, value in there.items() if key != "rows"} for part, there in found.items()}
    rows = [{"part": part, **row} for part, there in found.items() for row in there["rows"]]
    settings = _settings(size) | {"parts": about}
    file = result.write(name, figures, seed=size.seed, settings=settings, rows=rows)
    file.with_suffix(".png").write_bytes(plots.picture(figures, rows))
    return file


def _settings(size: Size) -> dict[str, Any]:
    return asdict(size) | {"omp_num_threads": os.environ.get("OMP_NUM_THREADS", "")}
