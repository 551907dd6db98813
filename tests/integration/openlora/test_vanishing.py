"""A thousand clients vanish in the middle of their answers, or read no more: nothing of them stays, nobody notices.

Half of their processes are killed, so that sockets close; the other half is stopped, so that sockets stay open and
nobody is behind them.  Of those, some wait for text, and others have more of it coming than a connection takes.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from openledger.client import Wallet
from services.openlora.engine import EngineDelta, EngineRequest
from tests.fake_engine import FakeEngine
from tests.needs import ROOT
from tests.openlora_world import PRICES, RICH, World, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CLIENTS, FLOODED = 1000, 5
KEEPALIVE_SECONDS = 30 + 10
"""After which the server is sure that nobody is there (services/kit/server.py)."""
HOLD, FLOOD = "hold", "flood"
ROOM = {
    "max_rpcs": 4 * CLIENTS,
    "max_rpcs_per_caller": 2 * CLIENTS,
    "max_running": 2 * CLIENTS,
    "max_queued": 2 * CLIENTS,
    "max_queued_per_tenant": 2 * CLIENTS,
}


class Crowded(FakeEngine):
    """Says one letter to whoever asks it to hold or to flood; then it waits, and floods when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.hold, self.flood = asyncio.Event(), asyncio.Event()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        prompt = self.text(request.prompt_token_ids)
        async for delta in super().generate(request):
            text = "flood " * 300_000 if prompt.startswith(FLOOD) and self.flood.is_set() else delta.text
            yield EngineDelta(delta.token_ids, text, delta.finish_reason)
            if prompt.startswith(HOLD):
                await self.hold.wait()
            if prompt.startswith(FLOOD):
                await self.flood.wait()


@pytest.fixture(autouse=True)
def room_for_sockets():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def clients(world: World, wallet: Wallet, prompt: str, count: int) -> AsyncIterator[int]:
    """A process of so many, all of which have heard something; its pid."""
    token = world.ledger.issuer.token(wallet)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.vanishing_clients", world.at, token, prompt, str(count), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert await asyncio.wait_for(child.stdout.readline(), 120) == b"ready\n"
        yield child.pid
    finally:
        if child.returncode is None:
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()


async def test_a_thousand_clients_vanish_and_nobody_else_notices(world):
    engine, crowd = Crowded(), Wallet.create()
    world.ledger.balances[crowd.account] = RICH
    async with world.life(engine, **PRICES, **ROOM) as client:
        alone = [await world.ask(client, f"{n}") for n in range(20)]
        async with (
            clients(world, crowd, HOLD, CLIENTS // 2) as killed,
            clients(world, crowd, HOLD, CLIENTS // 2 - FLOODED) as waiting,
            clients(world, crowd, FLOOD, FLOODED) as flooded,
        ):
            assert len(engine.running) == CLIENTS
            vanished = time.monotonic()
            os.kill(waiting, signal.SIGSTOP)
            os.kill(flooded, signal.SIGSTOP)
            engine.flood.set()
            await until(lambda: len(engine.running) == CLIENTS - FLOODED, 30)
            assert world.gauge("rpcs_running") == CLIENTS, (
                "the engine is done with who is flooded; its text is not read"
            )
            os.kill(killed, signal.SIGKILL)
            beside = [await world.ask(client, f"{n}") for n in range(20)]
            await until(
                lambda: world.gauge("rpcs_running") == 0, KEEPALIVE_SECONDS + 30 - (time.monotonic() - vanished)
            )
            assert not engine.running
            assert (world.gauge("running"), world.gauge("queued")) == (0, 0)
        after = [await world.ask(client, f"{n}") for n in range(20)]
        traces = await world.traces()
    assert [a.text for a in alone] == [a.text for a in beside] == [a.text for a in after]
    assert all(answer.error is None for answer in (*alone, *beside, *after))
    assert len(traces) == CLIENTS + 60, "what was generated for them was charged, once"
    assert world.ledger.charged() == sum(trace.fee for trace in traces)
