"""Tasks for the executor's contract: what a worker may do to whoever runs it."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from services.kit.executor import TaskContext

PRELOAD = ("colorsys",)


def note(arguments: dict[str, Any], line: str = "ran") -> None:
    with Path(arguments["log"]).open("a") as log:
        log.write(f"{line}\n")


def wait_for(file: str) -> None:
    while not Path(file).exists():
        time.sleep(0.01)


def count(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Reports 0 .. n-1, printing in between, and notes in `log` that it ran."""
    note(arguments)
    for i in range(arguments["n"]):
        print("noise", i)
        os.write(sys.stdout.fileno(), b"noise below Python\n")
        context.report({"i": i})
    (context.output / "numbers").write_text(",".join(map(str, range(arguments["n"]))))
    (context.scratch / "checkpoint").write_text("of no use any more")
    return {"sum": sum(range(arguments["n"]))}


def fail(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    (context.output / "half").write_text("half of it")
    (context.scratch / "checkpoint").write_text("leads to the same place")
    raise KeyError(arguments["key"])


def die(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    (context.output / "half").write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def leave(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Ends as if it were done."""
    os._exit(0)


def hang(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Says who it is and who works for it, then works for ever."""
    (context.output / "half").write_text("half of it")
    with subprocess.Popen(["sleep", "600"]) as helper:
        context.report({"pid": os.getpid(), "helper": helper.pid, "parent": os.getppid()})
    raise AssertionError


def resume(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Dies as often as it is told, and counts its attempts in scratch."""
    checkpoint = context.scratch / "attempts"
    attempts = 1 + (int(checkpoint.read_text()) if checkpoint.exists() else 0)
    checkpoint.write_text(str(attempts))
    (context.output / f"attempt-{attempts}").touch()
    note(arguments, str(attempts))
    if attempts <= arguments["deaths"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempts": attempts}


def hold(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Notes where it is, keeps a checkpoint, and goes on once `go` is there."""
    checkpoint = context.scratch / "checkpoint"
    resumed = checkpoint.exists()
    checkpoint.touch()
    note(arguments, f"{arguments['name']} {os.environ.get('RAY_RAYLET_PID', '-')} {os.getpid()}")
    wait_for(arguments["go"])
    return {"resumed": resumed}


def follow(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Reads what another shard made."""
    return {"read": (context.outputs(arguments["input"]) / "numbers").read_text()}


def speak(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Reports text of so many characters."""
    for size in arguments["sizes"]:
        context.report({"text": "x" * size})
    return {}


ODD: dict[str, Any] = {"set": {"a": {1, 2}}, "path": {"a": Path("a")}, "nan": {"a": float("nan")}, "list": [1]}


def report_odd(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    context.report(ODD[arguments["what"]])
    return {}


def return_odd(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    result: dict[str, Any] = ODD[arguments["what"]]
    return result


def devour(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Writes to so many bytes of memory."""
    return {"length": len(bytearray(arguments["bytes"]))}


def devour_tensor(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """The same through torch, which says in its own words that there is no more."""
    import torch

    return {"length": len(torch.ones(arguments["bytes"], dtype=torch.uint8))}


def surroundings(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    return {"value": os.environ.get(arguments["name"])}


def imported(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Says whether a module was imported before, and imports it."""
    before = arguments["name"] in sys.modules
    importlib.import_module(arguments["name"])
    return {"before": before}
