"""Writes requirements/*.lock: every package of a group at one exact version, resolved by pip from requirements/*.in.

Run it after changing a .in file: `make lock`. It installs nothing. What it does not know: whether the versions work
together, which is what the tests are for.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "requirements"
HEADER = (
    "# Written by tools/lock.py from {source}; installed exactly, without resolving again (pip install --no-deps -r).\n"
)


def lines(name: str) -> list[str]:
    """The requirements in a file, without comments and blank lines."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [line for raw in text.splitlines() if (line := re.sub(r"(^|\s)#.*", "", raw).strip())]


def canonical(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve(requirements: list[str], *, deps: bool = True, known: dict[str, str] | None = None) -> dict[str, str]:
    """Name -> version of everything that pip would install for these requirements on a bare interpreter.

    known: versions that are taken of whatever is needed of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, bounds, report = Path(folder, "wanted.txt"), Path(folder, "bounds.txt"), Path(folder, "report.json")
        wanted.write_text("\n".join(requirements), encoding="utf-8")
        bounds.write_text("\n".join(f"{p}=={v}" for p, v in (known or {}).items()), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        command += [] if deps else ["--no-deps"]
        subprocess.run([*command, "--report", str(report), "-r", str(wanted), "-c", str(bounds)], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    # A local version (torch's +cpu) names a build, which set-up chooses; the lock names the release.
    return {canonical(p["metadata"]["name"]): p["metadata"]["version"].split("+")[0] for p in found}


def write(name: str, source: str, versions: dict[str, str], markers: dict[str, str]) -> None:
    """Write one lock file, sorted, each line with the marker that its .in line carries."""
    body = "".join(f"{p}=={v}{markers.get(p, '')}\n" for p, v in sorted(versions.items()))
    (FOLDER / name).write_text(HEADER.format(source=source) + body, encoding="utf-8")
    sys.stdout.write(f"{name}: {len(versions)} packages\n")


def markers_of(*names: str) -> dict[str, str]:
    """Name -> '; marker' for the .in lines that have one."""
    split = [line.partition(";") for name in names for line in lines(name)]
    return {canonical(re.split(r"[\[<>=!~ ]", left)[0]): f"; {right.strip()}" for left, _, right in split if right}


def main() -> None:
    excluded = {canonical(line.split()[0]) for line in lines("excluded.txt")}
    runtime = resolve(lines("runtime.in"))
    runtime |= resolve(lines("unresolved.in"), deps=False)
    pins = [
        f"{p}=={v}"
        for p, v in runtime.items()
        if p not in {canonical(x.split("==")[0]) for x in lines("unresolved.in")}
    ]
    dev = {p: v for p, v in resolve([*lines("dev.in"), *pins]).items() if p not in runtime}
    node = resolve(lines("node.in"))
    installed = {p: v for p, v in runtime.items() if p not in excluded}
    ray = {p: v for p, v in resolve(lines("ray.in"), known=runtime | dev).items() if p not in installed}
    there = installed | dev | ray
    bench = {p: v for p, v in resolve(lines("bench.in"), known=runtime | there).items() if p not in there}
    markers = markers_of("runtime.in", "unresolved.in")
    write("runtime.lock", "runtime.in and unresolved.in", installed, markers)
    write("dev.lock", "dev.in", {p: v for p, v in dev.items() if p not in excluded}, {})
    write("node.lock", "node.in", node, {})
    write("ray.lock", "ray.in", ray, {})
    write("bench.lock", "bench.in", {p: v for p, v in bench.items() if p not in excluded}, {})
    write("slither.lock", "slither.in", resolve(lines("slither.in")), {})


if __name__ == "__main__":
    main()
