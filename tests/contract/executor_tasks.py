"""Tasks for the executor's contract: what a worker may do to whoever runs it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from services.kit.executor import TaskContext


def count(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Reports 0 .. n-1, printing in between, and notes in `log` that it ran."""
    with Path(arguments["log"]).open("a") as log:
        log.write("ran\n")
    for i in range(arguments["n"]):
        print("noise", i)
        os.write(sys.stdout.fileno(), b"noise below Python\n")
        context.report({"i": i})
    (context.output / "numbers").write_text(",".join(map(str, range(arguments["n"]))))
    return {"sum": sum(range(arguments["n"]))}


def fail(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    (context.output / "half").write_text("half of it")
    raise KeyError(arguments["key"])


def die(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    (context.output / "half").write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hang(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Says who it is, then works for ever."""
    (context.output / "half").write_text("half of it")
    context.report({"pid": os.getpid()})
    while True:
        time.sleep(0.05)
