"""The verb "parse": a file's bytes while they arrive, and what a contained worker finds in them.

Nothing is kept: the file lies in memory, without a name, until it is answered.  Knows neither wire nor database.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Self

from services.datanet.files import labels
from services.datanet.files.found import Problem
from services.datanet.files.limits import Limits
from services.datanet.files.parsed import TASK, About, Answer, Job, Parsed
from services.datanet.upload import Room
from services.kit.contained import NoWorker, TaskRaised, TooSlow, WorkerDied, Workers
from services.kit.errors import invalid, unavailable
from services.kit.logs import logger

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
log = logger("datanet")


class Arriving:
    """A file while its bytes come in.  Use it as a context: it gives its memory back on leaving."""

    def __init__(self, room: Room, limit: int, size: int, sha256: str) -> None:
        """size: bytes as declared, 0 where they are not; sha256: of them, in hex, empty where it is not declared."""
        self._room, self._limit, self._size, self._sha256 = room, limit, size, sha256
        self._hash, self._count, self._taken = hashlib.sha256(), 0, 0
        if size > limit:
            raise self._too_large()
        self.handle = os.memfd_create("file", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)
        self._room.give(self._taken)

    def hold(self, size: int) -> None:
        """Take memory that goes back with the file's own."""
        self._room.take(size)
        self._taken += size

    def add(self, chunk: bytes) -> None:
        """The next bytes.  Raises `Fault` when they are too many."""
        self._count += len(chunk)
        if self._count > self._limit:
            raise self._too_large()
        self.hold(len(chunk))
        self._hash.update(chunk)
        os.write(self.handle, chunk)

    def close(self) -> None:
        """All is here, and nobody changes it any more.  Raises `Fault` unless it is what was declared."""
        if self._size not in {0, self._count} or self._sha256 not in {"", self._hash.hexdigest()}:
            message = f"the file that arrived has {self._count} bytes and is not the one declared: send it again"
            raise invalid("FILE_MISMATCH", message, "header.sha256")
        fcntl.fcntl(self.handle, fcntl.F_ADD_SEALS, _SEALS)

    def _too_large(self) -> Exception:
        return invalid("FILE_TOO_LARGE", f"at most {self._limit} bytes are taken of a file: split it", "header.size")


class Parsing:
    """Files, looked at in workers."""

    def __init__(self, workers: Workers, seconds: float, limits: Limits, task: str = TASK) -> None:
        """workers: of the task's module.  seconds: for one file."""
        self._workers, self._seconds, self._limits, self._task = workers, seconds, limits, task

    async def parse(self, handle: int, name: str, fields: Sequence[str], mapping: Mapping[str, str]) -> Answer:
        """What is in the file `handle`.  name: as it is shown.  A file that brings its reader down is told as such.

        Raises `Fault` where no file can be read.
        """
        job = Job(name, tuple(fields), dict(mapping), self._limits)
        try:
            return Answer(await self._workers.call(self._task, job.dumps(), self._seconds, handle))
        except ValueError:
            problem = _unreadable("answer of another form")
        except NoWorker as error:
            message = f"no file can be read now: {error}. Nothing is wrong with yours"
            raise unavailable("READER_UNAVAILABLE", message, retry_after=10) from None
        except TooSlow:
            problem = Problem(
                "", "FILE_TOO_SLOW", f"it was not read within {self._seconds:g} s: split it, or save it anew"
            )
        except WorkerDied:
            problem = Problem(
                "", "FILE_CRASHED", "what read it crashed on it: the file is broken, or made to; save it anew"
            )
        except TaskRaised as raised:
            if raised.kind == MemoryError.__name__:
                problem = Problem(
                    "", "FILE_TOO_COMPLEX", "reading it takes more memory than there is for one file: split it"
                )
            else:
                problem = _unreadable(raised.kind)
        return Answer(Parsed(About(problem_count=1), problems=(problem,)).dumps())


def _unreadable(why: str) -> Problem:
    log.warning("a file was not read", error=why)
    return Problem("", "FILE_UNREADABLE", "it cannot be read: save it anew, or in another format")


def shown(name: str) -> tuple[str, Problem | None]:
    """A file's name as it is shown, and what is wrong with it when it pretends to be another one."""
    how = labels.misleads(name)
    message = f"the file's name misleads: {how}. It was read all the same"
    return labels.shown(name), Problem("", "NAME_MISLEADS", message) if how else None
