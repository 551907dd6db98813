"""Runs a program that is told to end when whoever started it dies: `python bound.py <parent's pid> program ...`.

Linux only; elsewhere the program simply runs.  Knows nothing of the program.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    """Becomes the program; does not return."""
    parent, *command = sys.argv[1:]
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)  # outlasts the exec below
        if os.getppid() != int(parent):
            raise SystemExit(1)  # it died before we asked
    os.execv(command[0], command)  # noqa: S606 - this is what we are for


if __name__ == "__main__":
    main()
