"""The ledger's process, many lives one after another, each of which ends by SIGKILL: at a moment, or at a named point.

    python -m tests.ledger_lives

imports all that the service needs once and forks a life for each line on stdin, so that a start costs what the service
itself does.  A line is {"environment": {...}, "point": name or null, "nth": number, "how": signal}; what is written is
the life's own ready line, and {"pid": ...} and {"over": status} around it.  A point is a place in the code: there the
process sends itself a signal, SIGKILL or another, before or after its database transaction was committed.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
PR_SET_PDEATHSIG = 1
STORE = "services.ledger.store"
TRANSACTIONS = {
    "ingest": ("services.ledger.consume", "book_all"),
    "seal": (f"{STORE}.epochs", "store"),
    "plan": (f"{STORE}.chain", "plan"),
    "nonce": (f"{STORE}.sender", "take_nonce"),
    "sign": (f"{STORE}.chain", "signed"),
    "mined": (f"{STORE}.chain", "mined"),
    "final": (f"{STORE}.chain", "ended"),
    "redeemed": (f"{STORE}.epochs", "drop_batch"),
    "published": (f"{STORE}.epochs", "published"),
    "advance": (f"{STORE}.epochs", "advance"),
    "follow": (f"{STORE}.chain", "follow"),
    "tell": ("services.ledger.replay", "tell"),
    "anchored": (f"{STORE}.epochs", "end_anchoring"),
}
"""Functions that write: killed within their transaction, or right after its commit."""
POINTS = {
    **{f"{name}: before the commit": (*where, "within") for name, where in TRANSACTIONS.items()},
    **{f"{name}: after the commit": (*where, "committed") for name, where in TRANSACTIONS.items()},
    "broadcast: before": ("services.ledger.chain_node", "Node.broadcast", "before"),
    "broadcast: after": ("services.ledger.chain_node", "Node.broadcast", "within"),
}


class Lives:
    """Starts lives from the process that this module is when it runs.  One at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.ledger_lives", cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await self._line() == {"waiting": True}
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def begin(
        self, environment: dict[str, str], point: str | None = None, nth: int = 1, how: int = signal.SIGKILL
    ) -> int:
        """The pid of a new life."""
        assert self._process is not None
        assert self._process.stdin is not None
        line = json.dumps({"environment": environment, "point": point, "nth": nth, "how": int(how)})
        self._process.stdin.write(line.encode() + b"\n")
        return int((await self._line())["pid"])

    async def over(self, serving: Callable[[], None] | None = None) -> int:
        """Waits for the life's end; returns its wait status.  `serving` is called when it serves before that."""
        while "over" not in (line := await self._line()):
            if serving is not None and line.get("serving"):
                serving()
        return int(line["over"])

    async def ready(self) -> None:
        """Waits until the life serves."""
        assert (await self._line())["serving"]

    async def _line(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        return dict(json.loads(await asyncio.wait_for(self._process.stdout.readline(), 60)))


def arm(point: str, nth: int, how: int) -> None:
    """This process gets that signal when it comes there for the nth time."""
    module_name, name, when = POINTS[point]
    owner: Any = importlib.import_module(module_name)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    real, here, left = getattr(owner, last), threading.local(), [nth]

    def reached() -> bool:
        left[0] -= 1
        return left[0] == 0

    def killed(*arguments: Any, **named: Any) -> Any:
        now = reached()
        if now and when == "before":
            os.kill(os.getpid(), how)
        result = real(*arguments, **named)
        if now and when == "within":
            os.kill(os.getpid(), how)
        here.reached = now or getattr(here, "reached", False)
        return result

    setattr(owner, last, killed)
    if when == "committed":
        _after_commit(here, how)


def _after_commit(here: threading.local, how: int) -> None:
    from services.kit.database import Database

    real = Database._transact

    def transact(database: Any, transaction: Any) -> Any:
        result = real(database, transaction)
        if getattr(here, "reached", False):
            here.reached = False
            os.kill(os.getpid(), how)
        return result

    Database._transact = transact  # type: ignore[method-assign]


def _live(order: dict[str, Any]) -> int:
    from services.kit.config import load_or_exit
    from services.kit.server import main
    from services.ledger.__main__ import assemble
    from services.ledger.config import LedgerConfig

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(order["environment"])
    if order["point"]:
        arm(order["point"], order["nth"], order["how"])
    return main(load_or_exit(LedgerConfig), assemble)


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    import services.ledger.__main__  # noqa: F401

    _say(waiting=True)
    for text in sys.stdin:
        asked = json.loads(text)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os._exit(_live(asked))
        _say(pid=child)
        _say(over=os.waitpid(child, 0)[1])
