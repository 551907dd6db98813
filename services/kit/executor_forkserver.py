"""Workers that start warm: a process that has imported what tasks need, and is copied for each worker.

Importing torch and transformers takes seconds of a core; a copy of a process that has them takes a few hundredths of
one, and shares their memory.  The process itself runs no task, starts no thread, and ends with its service.

    python -m services.kit.executor_forkserver FD      started by `ForkServer`, never by hand

Over the socket FD a line asks, and a line answers: "fork MODULE", with one end of the worker's own socket beside it, is
answered by the worker's process id; "wait PID" by the status of a worker that has ended.  A module of tasks may name in
PRELOAD what its tasks will import later.  Knows not what a worker is told.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import subprocess
import sys
import threading

from services.kit import executor_worker

_LINE, _UNKNOWN = 4096, b"unknown\n"


class ForkServer:
    """The one of this process; started when it is first asked, and again when it has died.  Safe in threads."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, module: str) -> tuple[int, socket.socket]:
        """A new worker: its process id, and the socket to it.  Raises `OSError`.

        module: which of them are imported before it is made; one that cannot be is the worker's to tell.
        """
        ours, theirs = socket.socketpair()
        with theirs, self._asking:
            try:
                pid = self._ask(f"fork {module}", theirs)
            except (BrokenPipeError, ConnectionError):
                self._start()
                pid = self._ask(f"fork {module}", theirs)
        assert pid is not None
        return pid, ours

    def wait(self, pid: int) -> int | None:
        """The status of a worker that has ended, as `subprocess` has it; None if nobody knows any more."""
        with self._asking, contextlib.suppress(ConnectionError):
            return self._ask(f"wait {pid}")
        return None

    def _ask(self, question: str, beside: socket.socket | None = None) -> int | None:
        if self._control is None:
            raise ConnectionError("there is no fork server yet")
        handles = [beside.fileno()] if beside else []
        socket.send_fds(self._control, [question.encode() + b"\n"], handles)
        answer = self._control.recv(_LINE)
        if not answer:
            raise ConnectionError("the fork server has ended")
        return None if answer == _UNKNOWN else int(answer)

    def _start(self) -> None:
        if self._process is not None and self._control is not None:
            self._control.close()
            self._process.wait()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, and this module
                (sys.executable, "-m", __spec__.name, str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the service, which ends its workers in its own time
            )


FORK_SERVER = ForkServer()


def serve(control: socket.socket) -> int:
    """Answer until the service is gone.  In a worker's process: work, and return its exit status."""
    while True:
        question, handles, _, _ = socket.recv_fds(control, _LINE, 1)
        if not question:
            return 0
        verb, _, what = question.decode().strip().partition(" ")
        if verb == "wait":
            control.sendall(_status(int(what)))
            continue
        _preload(what)
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            control.close()
            return _work(handles[0], server)
        os.close(handles[0])
        _lead(pid)
        control.sendall(b"%d\n" % pid)


def _lead(pid: int) -> None:
    """Make a worker a group with all that it will start, so that they end together: `executor_worker.end`.

    Done on both sides of the fork: whoever is told of the worker may end it before it has run.
    """
    with contextlib.suppress(ProcessLookupError):
        os.setpgid(pid, pid)


def _status(pid: int) -> bytes:
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return _UNKNOWN
    return b"%d\n" % os.waitstatus_to_exitcode(status)


def _preload(module: str) -> None:
    """Import a module of tasks, and what it says that they will import.  A failure is found again by the worker."""
    with contextlib.suppress(Exception):
        for name in getattr(importlib.import_module(module), "PRELOAD", ()):
            importlib.import_module(name)


def _work(handle: int, server: int) -> int:
    _lead(0)
    os.dup2(handle, 0)
    os.dup2(handle, 1)
    os.close(handle)
    return executor_worker.main(server)


if __name__ == "__main__":
    raise SystemExit(serve(socket.socket(fileno=int(sys.argv[1]))))
