"""What contained workers do in tests: good work, and every way to go wrong."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from contextlib import suppress
from pathlib import Path


def reversed_(payload: bytes) -> bytes:
    return payload[::-1]


def of_file(payload: bytes, file: int) -> bytes:
    return payload + os.pread(file, 100, 0)


def who(payload: bytes) -> bytes:
    return str(os.getpid()).encode()


def crash(payload: bytes) -> bytes:
    ctypes.string_at(0)
    return b"nobody gets here"


def sleep(payload: bytes) -> bytes:
    time.sleep(60)
    return b""


def spin(payload: bytes) -> bytes:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        pass
    return b""


def hang_up(payload: bytes) -> bytes:
    for handle in range(3, 64):  # the socket is one of them
        with suppress(OSError):
            os.close(handle)
    time.sleep(60)
    return b""


def nap(payload: bytes) -> bytes:
    time.sleep(0.3)
    return b"slept"


def refuse(payload: bytes) -> bytes:
    raise LookupError(payload.decode())


def swell(payload: bytes) -> bytes:
    return bytes(2**31)


def lengthen(payload: bytes) -> bytes:
    return bytes(2**16)


def read(payload: bytes) -> bytes:
    return Path(payload.decode()).read_bytes()


def write(payload: bytes) -> bytes:
    Path(payload.decode()).write_bytes(b"mine")
    return b"written"


def remove(payload: bytes) -> bytes:
    Path(payload.decode()).unlink()
    return b"removed"


def connect(payload: bytes) -> bytes:
    socket.create_connection(("127.0.0.1", int(payload)), timeout=5).close()
    return b"connected"


def signal(payload: bytes) -> bytes:
    os.kill(int(payload), 0)
    return b"heard"


def run(payload: bytes) -> bytes:
    os.execv("/bin/true", ["/bin/true"])


def fork(payload: bytes) -> bytes:
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    return str(child).encode()


def environment(payload: bytes) -> bytes:
    return "\n".join(os.environ).encode()
