"""A contained worker: a process that looks at what strangers sent, one job after the other, and may die of it.

    python -m services.kit.contained_worker FD PARENT MEMORY MODULE      started by `Workers`, never by hand

Over the socket FD comes an order, a frame of JSON and then the payload; one descriptor of a file may come beside it.
An answer is a frame of JSON and then its bytes.  Once ready it has no rights but to compute (confine.py).  It knows
neither the service nor who asks.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
import sys
import warnings
from typing import Any

from openledger.memory import is_exhausted
from services.kit import confine

HEAD_BYTES = 8
MAX_HEAD = 64 * 2**10
_MAX_MESSAGE = 1000  # characters; an exception may quote whatever it was given


def main(handle: int, parent: int, memory: int, module: str) -> int:
    """Work until the other end of the socket is closed.

    memory: bytes of address space.  module: imported before anything is given up; its tasks are `module:function`.
    """
    confine.die_with(parent)
    held = confine.leave_network()
    tasks = importlib.import_module(module)
    nothing = os.open(os.devnull, os.O_RDWR)
    confine.limit(memory)
    held += confine.see_only(confine.of_the_program())
    _be_silent(nothing)
    with socket.socket(fileno=handle) as line:
        _say(line, {"holds": held})
        while (order := _hear(line)) is not None:
            _work(line, tasks, *order)
    return 0


def _work(line: socket.socket, tasks: Any, order: dict[str, Any], payload: bytes, files: list[int]) -> None:
    try:
        answer = getattr(tasks, order["function"])(payload, *files)
    except Exception as error:  # noqa: BLE001 - a task may raise anything; its caller is told what
        kind = MemoryError.__name__ if is_exhausted(error) else type(error).__name__
        _say(line, {"raised": {"kind": kind, "message": str(error)[:_MAX_MESSAGE]}})
    else:
        _say(line, {}, answer)
    finally:
        for file in files:
            os.close(file)


def _hear(line: socket.socket) -> tuple[dict[str, Any], bytes, list[int]] | None:
    head, files, _, _ = socket.recv_fds(line, HEAD_BYTES, 1)
    if not head:
        return None
    head += _read(line, HEAD_BYTES - len(head))
    order = json.loads(_read(line, int.from_bytes(head, "big")))
    return order, _read(line, order["size"]), files


def _say(line: socket.socket, message: dict[str, Any], body: bytes = b"") -> None:
    plain = json.dumps({**message, "size": len(body)}).encode()
    line.sendall(len(plain).to_bytes(HEAD_BYTES, "big") + plain)
    line.sendall(body)


def _read(line: socket.socket, size: int) -> bytes:
    found = bytearray(size)
    view = memoryview(found)
    while view:
        count = line.recv_into(view)
        if not count:
            raise SystemExit(0)  # the service is gone
        view = view[count:]
    return bytes(found)


def _be_silent(nothing: int) -> None:
    """What libraries say of strangers' bytes belongs in no log."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
