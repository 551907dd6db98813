"""Memory and time of a fine-tune that follows a thousand contributors: all at once, and in parts.

    python -m bench many            1,000 contributors of one record each; all at once, a part of 256, and one of 64
    python -m bench many --quick    48 contributors, parts of 12 and 4, two steps; a minute or two, the same code

SmolLM2-135M, the product's default settings, a few steps. The records are one curator's of the HPO, each given to a
made-up address, since no corpus here has a thousand authors: what is measured is memory and time, not whose vectors are
right. Each arm is a process of its own, so that its peak memory is its own, up to the written contribution index.
Afterwards the rows that all arms have in common are compared: only the rounding of matrix products may differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import result


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    people: int
    parts: tuple[int, ...]
    """Contributors of one training, the most first; the first arm follows everybody."""
    steps: int

    @property
    def arms(self) -> tuple[int, ...]:
        """Contributors that each arm follows."""
        return (self.people, *self.parts)


FULL, QUICK = Size(1000, (256, 64), 12), Size(48, (12, 4), 2)


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/many.json, or many-quick.json."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="many-") as folder:
        rows = []
        for arm in size.arms:
            rows.append(_in_its_own_process(arm, Path(folder), quick=quick))
            print(f"{arm} at once: {rows[-1]}", file=sys.stderr, flush=True)
        differ = [_compared(Path(folder), size, arm) for arm in size.parts]
    settings = {"quick": quick, **vars(size), "parameters": rows[0]["parameters"]}
    name = "many-quick" if quick else "many"
    print(result.write(name, figures(size, rows, differ), seed=0, settings=settings, rows=rows))


def figures(size: Size, rows: list[dict[str, Any]], differ: list[dict[str, float]]) -> dict[str, float]:
    """Peak memory in GiB and seconds a step by arm; by part what all of them take, and how their rows differ."""
    found = {}
    for arm, row in zip(("all", *size.parts), rows, strict=True):
        found |= {f"{key}_{arm}": row[key] for key in ("peak_memory_gb", "seconds_per_step", "cpu_seconds_per_step")}
    for arm, row, compared in zip(size.parts, rows[1:], differ, strict=True):
        all_parts = -(-size.people // arm) * row["seconds_per_step"]
        found[f"time_of_all_parts_of_{arm}"] = all_parts / rows[0]["seconds_per_step"]
        found |= {f"{key}_{arm}": value for key, value in compared.items()}
        found[f"same_weights_{arm}"] = float(row["weights"] == rows[0]["weights"])
    return {key: round(value, 9) for key, value in found.items()}


def _in_its_own_process(arm: int, folder: Path, *, quick: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.many", str(arm), str(folder), *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm} at once ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _compared(folder: Path, size: Size, arm: int) -> dict[str, float]:
    """Of the rows that both have: share of entries that differ, and of those within one int8 step in the worst row."""
    import numpy as np

    from openledger.influence.index import ContributionIndex
    from openledger.influence.quantize import agreement

    whole, part = (ContributionIndex.open(folder / str(each)) for each in (size.people, arm))
    changed = [np.mean(part.row(row).to_float() != whole.row(row).to_float()) for row in range(arm)]
    within = [agreement(part.row(row), whole.row(row)) for row in range(arm)]
    return {"entries_that_differ": float(np.mean(changed)), "least_within_one_step": min(within)}


def measure(arm: int, folder: Path, *, quick: bool) -> dict[str, Any]:
    """One arm in this process: the first part of so many contributors, a few steps, its index written to the folder."""
    from bench.lds.study import Setting, Study, address
    from openledger.influence.index import joined
    from services.factory.training_run import TrainingRun
    from services.factory.write import contribution_index

    size = QUICK if quick else FULL
    study = Study(Setting("many", contributors=1, records=size.people, queries=0, epochs=1))
    training = [replace(example, contributor=address(c)) for c, example in enumerate(study.training)]
    run = TrainingRun(replace(study.spec, contributors_at_once=arm), study.decoder, training)
    run.trunk.prepare(training, study.spec.precision, lambda _: None)
    before, seconds, cpu = _peak(), [], []
    with run.attached():
        for _ in range(size.steps):
            begun, worked = time.perf_counter(), time.process_time()
            run.step()
            seconds.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - worked)
    with (folder / str(arm)).open("wb") as file:
        file.writelines(joined([contribution_index(run)]))
    return {
        "followed": run.shadows.shadows,
        "seconds_per_step": statistics.median(seconds[1:]),
        "cpu_seconds_per_step": statistics.median(cpu[1:]),
        "peak_memory_gb": _peak(),
        "peak_memory_gb_before": before,
        "parameters": len(run.theta),
        "weights": hashlib.sha256(run.theta.numpy().tobytes()).hexdigest(),
    }


def _peak() -> float:
    """GiB that this process has had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One arm; prints what was measured as JSON.")
    parser.add_argument("arm", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.arm, asked.folder, quick=asked.quick)))
