"""The Datanet as a process of its own, which dies by `kill -9` where it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.kit.testing import SECRET

_DIES = """
import importlib, os, signal, sys
where, when = sys.argv[1].split(":")
module, *path = where.split(".")
owner = importlib.import_module("services.datanet." + module)
for part in path[:-1]:
    owner = getattr(owner, part)
inner = getattr(owner, path[-1])
def dies(*given, **more):
    if when == "after":
        inner(*given, **more)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, path[-1], dies)
from services.datanet.__main__ import main
raise SystemExit(main())
"""


@asynccontextmanager
async def process(
    folder: Path, ledger_at: str, dies_at: str = ""
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The child and its host:port.  dies_at: `<module>.<name>:before` or `:after`, a function of `services.datanet`."""
    settings = {"DATA_DIR": folder / "datanet", "ARTIFACTS_DIR": folder / "artifacts", "SERVICE_SECRET": SECRET}
    settings |= {"LEDGER": ledger_at, "ANCHOR_POLL_SECONDS": 0.05}
    environment = {f"OPENLEDGER_DATANET_{key}": str(value) for key, value in settings.items()}
    command = ("-c", _DIES, dies_at) if dies_at else ("-m", "services.datanet")
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert child.stdout is not None
    try:
        line = json.loads(await asyncio.wait_for(child.stdout.readline(), 30))
        yield child, f"127.0.0.1:{line['port']}"
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        await child.wait()
