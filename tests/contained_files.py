"""A parser with faults of its own: what a file says first decides how it goes wrong."""

from __future__ import annotations

import ctypes
import os
import time

from services.datanet.files import task


def parse(payload: bytes, file: int) -> bytes:
    match os.pread(file, 5, 0):
        case b"CRASH":
            ctypes.string_at(0)
        case b"SPINS":
            while True:
                pass
        case b"WAITS":
            time.sleep(60)
        case b"SWELL":
            return bytes(2**31)
        case b"RAISE":
            raise LookupError("what is in the file")
        case b"LIES!":
            return b"\x00" * 7 + b"\x02{}"
    return task.parse(payload, file)
