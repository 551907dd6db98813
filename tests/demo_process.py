"""`openledger demo --quick` as a person starts it, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.needs import ROOT


def start(folder: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """The demo in that folder; its report comes on stdout, what it says is added to the log."""
    command = [sys.executable, "-m", "openledger.cli.main", "demo", "--quick", "--json"]
    command += ["--data", str(folder), "--first-port", str(port)]
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:  # a test run in a shell's background ignores ctrl-C, and its children would with it
        with log.open("ab") as file:
            return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=file)
    finally:
        signal.signal(signal.SIGINT, ignored)
