"""Workers that may die: strangers' bytes are looked at in processes without rights, not in the service.

A pool of processes that live on from job to job (contained_worker.py).  Of a job that crashes its process, or takes too
long, or raises, that job alone hears, and a new process takes the next one.  A job whose caller is cancelled is done to
its end all the same, as long as it may take: whoever gives up jobs would else cost a new process each time.  Where a
process does one job alone it is ended.  Knows not what the jobs are about.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil

from openledger import canonical
from services.kit import confine
from services.kit.contained_worker import HEAD_BYTES, MAX_HEAD
from services.kit.logs import logger
from services.kit.wait import stop

_START_SECONDS = 60.0
BUSY = 0.5
"""Of its time, what a job must have had of a processor before it is the job that takes too long."""
_END_SECONDS = 1.0
"""In which a process that has let go of its socket has ended, or does not mean to."""
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT
"""How a process has ended, if it has, without letting go of its number."""
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "PATH": os.defpath}
"""A worker finds nothing of the service's own environment, in which secrets are."""


class WorkerDied(Exception):
    """The process ended in the midst of the job: it crashed, or was out of memory in a library that cannot say so."""


class NoWorker(Exception):
    """None could be started, or this machine left it no time, or killed it: no job is at fault."""


class TooSlow(Exception):
    """The job took longer than it may, and worked for most of that time."""


class TaskRaised(Exception):
    """The task raised.  `kind` is the exception's class, `MemoryError` for all ways to be out of memory."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


class Workers:
    """Processes for the tasks of one module.  Started when they are needed; `close` ends them."""

    def __init__(
        self, module: str, *, at_once: int = 2, memory: int = 2**30, jobs: int = 200, answer: int = 256 * 2**20
    ) -> None:
        """memory: bytes of address space a process.  jobs: after so many it is replaced.  answer: most bytes of one."""
        self._module, self._memory, self._jobs, self._answer = module, memory, jobs, answer
        self._room = asyncio.Semaphore(at_once)
        self._idle: list[_Worker] = []
        self._doing: set[asyncio.Task[bytes]] = set()
        self._told = False

    async def call(self, task: str, payload: bytes, seconds: float, file: int | None = None) -> bytes:
        """What the task `module:function` returns, called with the payload and, where given, an open file.

        seconds: of the clock, from the moment at which a worker has it.  file: the task gets a descriptor of its own.
        Raises `WorkerDied`, `TooSlow`, `TaskRaised`, `NoWorker`.
        """
        module, _, function = task.partition(":")
        if module != self._module:
            raise ValueError(f"these workers do the tasks of {self._module}, not {task}")
        await self._room.acquire()
        job = asyncio.create_task(self._done(function, payload, seconds, file))
        self._doing.add(job)
        job.add_done_callback(self._is_done)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            if self._jobs == 1 or file is not None:  # a file is open for as long as its caller waits
                await stop(job)
            raise

    async def _done(self, function: str, payload: bytes, seconds: float, file: int | None) -> bytes:
        worker = await self._taken()
        before = worker.worked()
        try:
            async with asyncio.timeout(seconds):
                return await worker.ask(function, payload, file, self._answer)
        except TimeoutError:
            worked = worker.worked() - before
            if worked < BUSY * seconds:
                raise NoWorker(f"of {seconds:g} s, this machine left {worked:.1f} s to it: it is busy") from None
            raise TooSlow(f"it took longer than {seconds:g} s") from None
        except EOFError:
            if await asyncio.to_thread(worker.is_killed):
                raise NoWorker("this machine killed it, as one does that is out of memory") from None
            raise WorkerDied(f"the process that looked at it {await worker.end()}") from None
        finally:
            await self._left(worker)

    def _is_done(self, job: asyncio.Task[bytes]) -> None:
        self._doing.discard(job)
        self._room.release()
        if not job.cancelled():
            job.exception()  # nobody may have waited for it

    async def close(self) -> None:
        """End all workers; to be called when nobody waits for a job."""
        while self._doing:
            await stop(next(iter(self._doing)))
        while self._idle:
            await self._idle.pop().end()

    async def _taken(self) -> _Worker:
        while self._idle and not self._idle[-1].lives:
            await self._idle.pop().end()
        worker = self._idle.pop() if self._idle else self._started()
        try:
            async with asyncio.timeout(_START_SECONDS):
                self._tell(await worker.ready())
        except (EOFError, TimeoutError):
            raise NoWorker(f"a worker for {self._module} did not start: {await worker.end()}") from None
        except BaseException:
            await worker.end()
            raise
        return worker

    async def _left(self, worker: _Worker) -> None:
        """A worker that has not answered in full is in no known state; the next job finds another one started."""
        if worker.answered and worker.jobs < self._jobs:
            self._idle.append(worker)
        else:
            self._idle.append(self._started())
            await worker.end()

    def _started(self) -> _Worker:
        return _Worker(*_process(self._module, self._memory))

    def _tell(self, holds: list[str]) -> None:
        lacks = {confine.FILES, confine.NETWORK}.difference(holds)
        if lacks and not self._told:
            logger("contained").warning("workers_less_contained", module=self._module, not_kept_from=sorted(lacks))
        self._told = True


class _Worker:
    """A process and the socket to it."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket) -> None:
        self._process, self._line = process, line
        self._holds: list[str] | None = None
        self.jobs = 0
        self.answered = True
        """Whether it has answered all that it was asked, without raising."""

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    async def ready(self) -> list[str]:
        """Once it has started: which bounds hold in it."""
        if self._holds is None:
            self._holds = [str(bound) for bound in (await self._head())["holds"]]
        return self._holds

    async def ask(self, function: str, payload: bytes, file: int | None, most: int) -> bytes:
        """Raises `EOFError` when it dies, or answers what no worker of ours would."""
        self.jobs, self.answered = self.jobs + 1, False
        order = json.dumps({"function": function, "size": len(payload)}).encode()
        try:
            # The socket is empty between two jobs, so that these few bytes find room at once.
            socket.send_fds(self._line, [len(order).to_bytes(HEAD_BYTES, "big")], [] if file is None else [file])
            await self._loop.sock_sendall(self._line, order + payload)
            head = await self._head()
            if "raised" in head:
                raise TaskRaised(str(head["raised"]["kind"]), str(head["raised"]["message"]))
            if head["size"] > most:
                raise TaskRaised("AnswerTooLong", f"the answer has {head['size']} bytes, at most {most} are taken")
            answer = await self._read(head["size"])
        except (ConnectionError, ValueError, KeyError, TypeError):
            raise EOFError from None
        self.answered = True
        return answer

    def worked(self) -> float:
        """Seconds of a processor that its process has had."""
        with suppress(psutil.Error):
            used = psutil.Process(self._process.pid).cpu_times()
            return float(used.user + used.system)
        return 0.0

    def is_killed(self) -> bool:
        """Whether somebody else killed it: out of memory of its own, or crashed, it ends by another signal."""
        until = time.monotonic() + _END_SECONDS
        while (ended := os.waitid(os.P_PID, self._process.pid, _LOOK)) is None and time.monotonic() < until:
            time.sleep(0.01)
        return ended is not None and ended.si_code == os.CLD_KILLED and ended.si_status == signal.SIGKILL

    async def end(self) -> str:
        """Kill it and all that it has started; how it ended."""
        if self._process.returncode is None:  # not waited for yet, so that its number is still its own
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._line.close()
        status = await asyncio.to_thread(self._process.wait)
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    async def _head(self) -> Mapping[str, Any]:
        size = int.from_bytes(await self._read(HEAD_BYTES), "big")
        if size > MAX_HEAD:
            raise EOFError
        head: Mapping[str, Any] = canonical.parse_json(await self._read(size))
        return head

    async def _read(self, size: int) -> bytes:
        found = bytearray(size)
        view = memoryview(found)
        while view:
            count = await self._loop.sock_recv_into(self._line, view)
            if not count:
                raise EOFError
            view = view[count:]
        return bytes(found)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


def _process(module: str, memory: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """To be called in the service's own thread: its worker ends with the thread that started it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        handle = theirs.fileno()
        process = subprocess.Popen(  # noqa: S603 - this Python, and this module
            (sys.executable, "-m", "services.kit.contained_worker", f"{handle}", f"{os.getpid()}", f"{memory}", module),
            env={**_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.DEVNULL,
            pass_fds=(handle,),
            start_new_session=True,  # Ctrl-C is for the service, which ends its workers in its own time
        )
    return process, ours
