"""Runs pip in the project's virtual environment: says where it is, keeps a log, and says what to do when it fails.

Everything goes to stderr: what `make` prints on stdout is what the command after set-up says.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"
CACHE = Path(os.environ.get("OPENLEDGER_CACHE") or ROOT / ".cache")
LOG = CACHE / "setup.log"

NETWORK = (
    "after connection broken by",
    "Temporary failure in name resolution",
    "Connection refused",
    "Connection reset",
    "Connection aborted",
    "IncompleteRead",
    "ReadTimeoutError",
)
_NOT_OFFERED = "No matching distribution found for"
HINTS = (
    ("No space left on device", "the disk is full: free some space and run this again; it goes on where it stopped"),
    *((mark, "the network fails: check it or pip's settings, and run this again; it goes on") for mark in NETWORK),
    (_NOT_OFFERED, "the package index does not offer that version for this Python and machine"),
    ("Python.h", "Python's headers are missing: install python3-dev"),
    ("error: command 'gcc' failed", "a C compiler is missing: install gcc"),
)


class SetupError(Exception):
    """Something that a person must change; the message says what."""


class NotOffered(SetupError):
    """The index was asked, and does not have it."""


class Unreachable(SetupError):
    """Nobody knows whether the index has it: it could not be asked."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def environment() -> dict[str, str]:
    """This machine's settings for pip, with its downloads kept in the project as far as the index allows it."""
    return {
        **os.environ,
        "PIP_CACHE_DIR": str(CACHE / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_PROGRESS_BAR": "off",
    }


class Progress:
    """One line that says what pip is at: rewritten on a terminal, now and then elsewhere."""

    def __init__(self, total: int) -> None:
        self.total, self.seen, self.begun = total, 0, time.monotonic()
        self.terminal = sys.stderr.isatty()

    def feed(self, line: str) -> None:
        """Take one line of pip's output."""
        named = re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line)
        sized = re.match(r"Downloading ([\w.]+)-(\d[^-]*)-.*\((\d{3,}(?:\.\d+)? MB|[\d.]+ GB)\)", line)
        if named:
            self.seen += 1
            self.show(named[1])
        elif sized:
            self.show(f"{sized[1]} {sized[2]} ({sized[3]})", loud=True)
        elif line.startswith("Building wheel"):
            self.show("building " + line.split()[3], loud=True)
        elif line.startswith("Installing collected packages"):
            self.show("unpacking (a minute or two)", loud=True)

    def show(self, what: str, *, loud: bool = False) -> None:
        """Say where pip is; outside a terminal only when it takes long, or every 25th package."""
        line = f"  {min(self.seen, self.total)}/{self.total}  {what}"
        if self.terminal:
            print(f"\r\033[K{line[:100]}", end="", file=sys.stderr, flush=True)
        elif loud or self.seen % 25 == 0:
            say(line)

    def close(self) -> None:
        """End the line with the sum."""
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        say(f"  {self.total} packages in {time.monotonic() - self.begun:.0f} s")


def pip(*arguments: str, progress: Progress | None = None) -> None:
    """Run `pip install` of the venv.

    Raises:
        SetupError: pip failed; says why where that is known, and where the log is. `NotOffered` or `Unreachable` where
            it found no version.
    """
    lines: list[str] = []
    command = [str(PYTHON), "-m", "pip", "install", *arguments]
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        ) as process:
            for line in process.stdout or ():
                log.write(line)
                # A find-links folder that this package is not in; pip says so once for each package.
                if "is ignored: it is neither a file nor a directory" not in line:
                    lines.append(line.rstrip())
                if progress:
                    progress.feed(line.strip())
    if process.returncode:
        raise _failure(lines)


def _failure(lines: list[str]) -> SetupError:
    text = "\n".join(lines)
    hint = next((hint for mark, hint in HINTS if mark in text), "the lines above say why")
    shown = "\n".join(lines[-15:])
    kind = SetupError
    if _NOT_OFFERED in text:  # which is what pip also says of an index that it could not ask
        kind = Unreachable if any(mark in text for mark in NETWORK) else NotOffered
    return kind(f"{shown}\n\npip failed: {hint}. Whole log: {LOG}")
