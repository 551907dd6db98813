"""Slither over the contracts: everything that it finds, of low impact and above, is something that somebody looked at.

    python contracts/slither.py              what it finds beyond slither.json, and what there it does not find any more
    python contracts/slither.py --write      and puts it there: reasons that are known stay, new ones are to be written

`slither.json` beside this has each finding with the reason for which it stays; without a reason it counts as unseen.
Slither is installed, at the versions of requirements/slither.lock, into an environment of its own in the cache. What it
compiles with is `build.py`'s. Where it cannot be installed, that is said in a line, and is a failure in CI.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contracts import build

KNOWN = build.HERE / "slither.json"
LOCK = build.HERE.parent / "requirements" / "slither.lock"
HOME = build.CACHE / "slither"
_PLACE = re.compile(r" \((?:src|node_modules)/[^)]*\)")

Finding = dict[str, str]


def installed() -> Path:
    """The program, installed if it is not there as locked. Raises build.Missing."""
    program, stamp = HOME / "bin" / "slither", HOME / "locked"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return program
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True, capture_output=True, text=True)
        pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps", "-r", str(LOCK)]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as failed:
        raise build.Missing(f"slither cannot be installed: {(failed.stderr or failed.stdout)[-500:].strip()}") from None
    stamp.write_text(wanted)
    return program


def found(program: Path) -> list[Finding]:
    """What it finds in our sources, sorted; places in files left out, so that lines may move. Raises RuntimeError."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [str(program), ".", "--json", str(report), "--filter-paths", "node_modules|test/"]
        command += ["--exclude-informational", "--exclude-optimization", "--exclude-dependencies", "--no-fail-pedantic"]
        around = build.environment() | build.home()
        done = subprocess.run(command, cwd=build.HERE, env=around, capture_output=True, text=True, check=False)
        told = json.loads(report.read_text()) if report.is_file() else {}
    if not told.get("success"):
        raise RuntimeError(f"slither failed: {told.get('error') or (done.stdout + done.stderr)[-2000:]}")
    return sorted(map(_finding, told["results"].get("detectors", [])), key=_key)


def _finding(one: dict[str, Any]) -> Finding:
    words = " ".join(_PLACE.sub("", one["description"]).split())
    return {"impact": one["impact"].lower(), "check": one["check"], "finding": words}


def _key(finding: Finding) -> tuple[str, str]:
    return finding["check"], finding["finding"]


def compared(now: list[Finding], known: list[Finding]) -> list[str]:
    """What differs, in words; a high one is never excused."""
    reasons = {_key(one): one.get("reason", "") for one in known}
    here = {_key(one) for one in now}
    words = [f"{one['impact']}: {one['check']}: {one['finding']}" for one in now if _unseen(one, reasons)]
    return words + [f"not found any more: {check}: {text}" for check, text in reasons if (check, text) not in here]


def _unseen(finding: Finding, reasons: dict[tuple[str, str], str]) -> bool:
    return finding["impact"] == "high" or not reasons.get(_key(finding))


def write(now: list[Finding], known: list[Finding]) -> None:
    """The file, with the reasons that are known."""
    reasons = {_key(one): one.get("reason", "") for one in known}
    rows = [one | {"reason": reasons.get(_key(one), "")} for one in now]
    KNOWN.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put what is found into slither.json")
    arguments = parser.parse_args()
    try:
        build.install()
        now = found(installed())
    except build.Missing as missing:
        print(f"NOT CHECKED HERE: contracts by slither: {missing}", file=sys.stderr)
        return 1 if os.environ.get("OPENLEDGER_CI") == "1" else 0
    known: list[Finding] = json.loads(KNOWN.read_text()) if KNOWN.is_file() else []
    if arguments.write:
        write(now, known)
        known = json.loads(KNOWN.read_text())
    words = compared(now, known)
    print("\n".join(words) or f"slither: {len(now)} findings, each with a reason in contracts/slither.json")
    return 1 if words else 0


if __name__ == "__main__":
    sys.exit(main())
