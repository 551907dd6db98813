"""A running program: whether it lives and is ready, its output into its log, and its end with all that it started.

Its end is looked for, not waited for: what it started may outlive it, and hold its output open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from openledger.cli import bound
from openledger.cli.installation import Process

LOOK_SECONDS = 0.05
_LAST_WORDS_SECONDS = 2.0
_PIECE = 2**16
_BOUND_TO_US = (sys.executable, "-I", "-S", str(Path(bound.__file__)))
"""It ends with us, whatever ends us: nobody would keep, or stop, what we leave behind."""


class Child:
    """Made by `start`.  It is `ready` once it has printed a JSON line with `"serving": true` on stdout."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log
        self.ready = False
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, process: Process) -> Self:
        """Start a program in a session of its own.  Raises `OSError`."""
        with process.log.open("ab") as log:
            running = await asyncio.create_subprocess_exec(
                *_BOUND_TO_US,
                str(os.getpid()),
                *process.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **process.environment},
                start_new_session=True,  # ctrl-C is for us; we tell them when and in which order
            )
        return cls(running, process.log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.returncode is None

    @property
    def status(self) -> int | None:
        """Its exit status; None while it is alive."""
        return self._process.returncode

    async def end(self, patience: float = 20) -> None:
        """Tell it to end, and kill after `patience` seconds what is left of it and of all that it started."""
        with contextlib.suppress(ProcessLookupError):
            # It alone: a service ends what it started in its own order, or calls in hand could not be finished.
            self._process.terminate()
        deadline = time.monotonic() + patience
        while self.alive and time.monotonic() < deadline:  # noqa: ASYNC110 - see above
            await asyncio.sleep(LOOK_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        # Its last words, unless somebody beyond our reach still holds its output.
        await asyncio.wait({self._listening}, timeout=_LAST_WORDS_SECONDS)
        self._listening.cancel()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        line = b""
        # Pieces, not lines: nothing that a program prints may be too long to be taken, or it would stand still.
        while piece := await self._process.stdout.read(_PIECE):
            *whole, line = (line + piece).split(b"\n")
            for text in whole:
                if _says_ready(text):
                    self.ready = True
                else:
                    self._write(text + b"\n")
            if len(line) > _PIECE:
                self._write(line)
                line = b""
        self._write(line)

    def _write(self, data: bytes) -> None:
        # A full disk must not stop whoever prints.
        with contextlib.suppress(OSError), self._log.open("ab") as file:
            file.write(data)


def _says_ready(line: bytes) -> bool:
    try:
        message = json.loads(line)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("serving") is True


def converse(command: Sequence[str], order: object, log: Path) -> Iterator[dict[str, Any]]:
    """Run a program, give it one line of JSON, and hear the lines of JSON that it says until it ends.

    Whoever stops listening ends it.  Its stderr goes into the log.  Raises `OSError`, `ValueError` for what is no JSON.
    """
    with log.open("ab") as file:
        running = subprocess.Popen(  # noqa: S603 - our own
            [*_BOUND_TO_US, str(os.getpid()), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
        )
    assert running.stdin is not None
    assert running.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError), running.stdin as told:  # it may have ended at once
            told.write(json.dumps(order).encode() + b"\n")
        for line in running.stdout:
            yield json.loads(line)
    finally:
        running.terminate()
        running.stdout.close()
        running.wait()
