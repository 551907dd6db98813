"""vLLM's own HTTP server with adapters loaded at run time, as its documentation has it, on the vLLM that is installed.

Its HTTP server needs packages that OpenLoRA does not; they are kept in a venv of their own and put beside ours, so that
vLLM and torch are the same on both sides.  `python -m vllm.entrypoints.openai.api_server` is `vllm serve` by its other
name: the installed build answers to no command of that one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench import venv
from bench.serve.load import Ask, RefusedError
from bench.serve.processes import ended
from bench.serve.world import CACHE_BYTES, MAX_RANK, MOST_TOKENS, PROMPT_TOKENS, START_SECONDS, World
from openledger.adapters import materialise
from openledger.cache import cache_folder
from tests.ports import six_free_ports

PACKAGES = (
    "uvicorn==0.54.0",
    "watchfiles==1.3.0",
    "prometheus-fastapi-instrumentator==8.1.0",
    "model-hosting-container-standards==0.1.16",
    "jmespath==1.1.0",
    "supervisor==4.3.0",
)


class Stock:
    """The server, asked over HTTP.  See `load.Target`."""

    def __init__(self, session: aiohttp.ClientSession, where: str) -> None:
        self._session, self._where = session, where

    async def answer(self, ask: Ask, heard: Callable[[], None]) -> tuple[int, int]:
        """See `load.Target`."""
        asked = {
            "model": ask.model,
            "prompt": ask.prompt,
            "max_tokens": ask.tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        usage: dict[str, int] = {}
        async with self._session.post(f"{self._where}/v1/completions", json=asked) as response:
            if response.status != 200:
                raise RefusedError(f"HTTP_{response.status}")
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line.removeprefix(b"data: "))
                if any(choice["text"] for choice in event["choices"]):
                    heard()
                usage = event.get("usage") or usage
        if not usage:
            raise RefusedError("NO_USAGE")
        return usage["prompt_tokens"], usage["completion_tokens"]

    async def load(self, model: str, folder: Path) -> None:
        """Have an adapter served under that name."""
        asked = {"lora_name": model, "lora_path": str(folder)}
        async with self._session.post(f"{self._where}/v1/load_lora_adapter", json=asked) as response:
            if response.status != 200:
                raise RuntimeError(f"vllm serve does not load {model}: {await response.text()}")


@asynccontextmanager
async def stock(around: World, models: Sequence[str], slots: int) -> AsyncIterator[Stock]:
    """The server, serving those adapters with as many slots, and as many answers at once as OpenLoRA has."""
    folders = [materialise(around.artifacts, model.rpartition("/")[2], around.folder / "stock") for model in models]
    port = six_free_ports()
    log = around.folder / "stock.log"
    with log.open("ab") as said:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", *_arguments(around, port, slots, len(models)),
            env=await asyncio.to_thread(_environment), stdout=said, stderr=said, cwd=around.folder,
        )  # fmt: skip
    try:
        unbounded = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(900), connector=aiohttp.TCPConnector(limit=0))
        async with unbounded as session:
            server = Stock(session, f"http://127.0.0.1:{port}")
            if not await _serves(session, port, child):
                raise RuntimeError(f"vllm serve does not start: {log.read_text()[-2000:]}")
            for model, folder in zip(models, folders, strict=True):
                await server.load(model, folder)
            yield server
    finally:
        await ended(child)


def _arguments(around: World, port: int, slots: int, in_memory: int) -> list[str]:
    """What the service starts vLLM with, as far as it is not about being OpenLoRA."""
    told: dict[str, Any] = {
        "model": around.base,
        "served-model-name": "base",
        "host": "127.0.0.1",
        "port": port,
        "dtype": around.size.dtype,
        "max-model-len": PROMPT_TOKENS + MOST_TOKENS,
        "max-num-seqs": around.size.running,
        "max-num-batched-tokens": max(512, around.size.running),
        "kv-cache-memory-bytes": CACHE_BYTES,
        "max-loras": slots,
        "max-cpu-loras": in_memory,
        "max-lora-rank": MAX_RANK,
        "generation-config": "vllm",
    }
    flags = ["--enable-lora", "--enforce-eager", "--disable-log-stats"]
    return [*flags, *(word for name, value in told.items() for word in (f"--{name}", str(value)))]


def _environment() -> dict[str, str]:
    from services.openlora.engine_vllm_start import ENVIRONMENT, ITS_ENVIRONMENT

    python = Path(venv.python(cache_folder("serve") / "http", PACKAGES))
    [packages] = python.parents[1].glob("lib/python3*/site-packages")
    # One process for scheduler and worker is OpenLoRA's choice; vLLM's server has its own default.
    ours = {name: value for name, value in ENVIRONMENT.items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    told = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "PYTHONPATH": str(packages)}
    return {**ITS_ENVIRONMENT, **os.environ, **ours, **told}


async def _serves(session: aiohttp.ClientSession, port: int, child: asyncio.subprocess.Process) -> bool:
    """Whether it does, once that is known."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            async with session.get(f"http://127.0.0.1:{port}/health") as response:
                if response.status == 200:
                    return True
        except aiohttp.ClientConnectionError:
            pass
        if child.returncode is not None or time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.5)
