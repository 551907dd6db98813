"""How long the whole demo takes after set-up, by stage, and how much memory all its processes take at their peak.

    python -m bench demo

Memory is the sum of proportional set sizes (shared pages counted once) of every process of the demo, sampled twice a
second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import result

LIMIT_SECONDS = 1200


def main(*, quick: bool) -> None:
    """Run the demo on a fresh installation; `quick` trains for fewer epochs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "openledger.cli.main", "demo", "--data", folder, "--json"]
        command += ["--first-port", "7900", *(["--quick"] if quick else [])]
        out = Path(folder, "out.json")
        seconds, peak = watched(command, out)
        report = json.loads(out.read_text())
    figures = {
        "seconds": round(seconds, 1),
        "peak_memory_gb": round(peak / 2**30, 2),
        "loss_before": report["model"]["loss_before"],
        "loss_after": report["model"]["loss_after"],
        "answers": len(report["responses"]),
        "claims": len(report["settlement"]["claims"]),
        "drift": int(report["conservation"]["difference"]),
    }
    figures |= {f"seconds_{stage}": seconds for stage, seconds in report["seconds"].items()}
    name, settings = "demo-quick" if quick else "demo", {"engine": report["engine"], "quick": quick}
    print(result.write(name, figures, seed=0, settings=settings))


def watched(command: list[str], out: Path) -> tuple[float, int]:
    """Run a command, its stdout into a file: how many seconds it took, and its bytes of memory at their peak.

    Raises `SystemExit` when it fails, or is not done in time; it has ended then.
    """
    with out.open("wb") as file:
        demo = subprocess.Popen(command, stdout=file)
    peak, started = 0, time.monotonic()
    try:
        while demo.poll() is None:
            if time.monotonic() - started > LIMIT_SECONDS:
                raise SystemExit(f"the demo was not done after {LIMIT_SECONDS} s")
            peak = max(peak, sum(map(pss, family(demo.pid))))
            time.sleep(0.5)
    finally:
        demo.terminate()
        demo.wait()
    if demo.returncode != 0:
        raise SystemExit(f"the demo ended with status {demo.returncode}")
    return time.monotonic() - started, peak


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def pss(pid: int) -> int:
    """Proportional set size in bytes; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
