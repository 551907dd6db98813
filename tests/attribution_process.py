"""`python -m services.attribution` as a process of its own, configured by its environment, in a test's world."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.kit.testing import SECRET
from tests.attribution_world import OPERATOR, World
from tests.needs import ROOT


@asynccontextmanager
async def process(
    around: World, folder: Path, *program: str, **more: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The process once it serves, and where; killed on leaving.  folder: of its files.  more: environment.

    program: what Python runs in place of the service.
    """
    environment = {
        **os.environ,
        "OPENLEDGER_ATTRIBUTION_LISTEN": "127.0.0.1:0",
        "OPENLEDGER_ATTRIBUTION_DATA_DIR": str(folder),
        "OPENLEDGER_ATTRIBUTION_ARTIFACTS_DIR": str(around.artifacts.folder),
        "OPENLEDGER_ATTRIBUTION_SERVICE_SECRET": SECRET,
        "OPENLEDGER_ATTRIBUTION_LEDGER": around.where,
        "OPENLEDGER_ATTRIBUTION_OPENLORA": around.where,
        "OPENLEDGER_ATTRIBUTION_BASE": str(around.artifacts.adapter.base),
        "OPENLEDGER_ATTRIBUTION_OPERATORS": json.dumps([OPERATOR.address]),
        "OPENLEDGER_ATTRIBUTION_TRACE_DAYS": "36500",  # answers are of another day than the machine's clock shows
        **more,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, *(program or ("-m", "services.attribution")), env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        async with asyncio.timeout(60):
            ready = json.loads(await child.stdout.readline())
        yield child, f"127.0.0.1:{ready['port']}"
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
