"""`kill -9` of the service and of its engine at random points under load: what was acknowledged is what there is.

The service is started again whenever it dies, on the same files and port; an engine that dies is the service's own to
start again.  People ask without pause, and each asks the same again until there is an account of the answer; some hang
up first.  In the end every account has its trace, every trace its account, and the ledger was told their fees.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
from collections import Counter
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from bench.serve import load
from bench.serve.load import Ask, Rows
from bench.serve.processes import engine_of
from bench.serve.size import Size
from bench.serve.world import Service, World, generate, world
from openledger.client import ApiError
from openledger.trace import Trace

PEOPLE = 6
HANG_UPS = 0.15
GIVE_UP = frozenset({"POISONOUS_REQUEST"})
"""An engine died of this request as far as anybody can tell: it is not answered, nor charged, and not asked again."""
LASTING = frozenset({"INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL"})
"""Codes of refusals that asking again does not help."""
PROGRESS_SECONDS = 240.0
CALM = 0.7
"""Of the kills, as many wait until people are answered again; the others hit what is still getting up."""


@dataclass
class Books:
    """What people were told."""

    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Of each response the trace's digest and the fee."""
    contradicted: int = 0
    """Accounts that differ from an earlier one of the same response."""
    given_up: int = 0
    """Answers that will not come."""
    hung_up: int = 0
    refusals: Counter[str] = field(default_factory=Counter)


async def measure(size: Size) -> Rows:
    """One row."""
    async with world(size) as around:
        return [await killed(around, size.kills)]


def figures(rows: Rows) -> dict[str, float]:
    """Counts, and atomic units charged that no trace has."""
    keys = ("kills", "lost", "doubled", "charged_wrong", "acknowledged", "hung_up")
    found: dict[str, float] = {f"crash_{key}": rows[0][key] for key in keys}
    return found | {"crash_back_p50_s": rows[0]["back_s"]["p50"]}


async def killed(around: World, kills: int) -> dict[str, Any]:
    """Kill so often, and count what is wrong in the end."""
    size, chance = around.size, random.Random(around.size.seed)
    models = ["base", *await asyncio.to_thread(around.publisher.publish, 2 * size.some_slots)]
    service = Service(around, "crash", ("-m", "services.openlora"), {"max_adapters": size.some_slots})
    books, stop, victims = Books(), asyncio.Event(), Counter[str]()
    await service.start()
    keeper = asyncio.create_task(_keep(service))
    people = [
        asyncio.create_task(_someone(service, books, stop, models, number, size.crash_tokens))
        for number in range(PEOPLE)
    ]
    back: list[float] = []
    try:
        await _progress(books, people)
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.2, 3.0))
            victims[_kill(service, engine=victims["engine"] <= victims["service"])] += 1
            if chance.random() < CALM:
                back.append(await _progress(books, people))
        await _progress(books, people)
        stop.set()
        await asyncio.gather(*people)
        traces = await service.traces()
    finally:
        for task in (keeper, *people):
            task.cancel()
        await asyncio.gather(keeper, *people, return_exceptions=True)
        await service.stop()
    counts = wrong(books, traces) | {"charged_wrong": around.ledger.charged() - sum(trace.fee for trace in traces)}
    return {
        "kind": "kills",
        "kills": kills,
        "victims": dict(victims),
        "acknowledged": len(books.acknowledged),
        **counts,
        "leases_open": len(around.ledger.open),
        "hung_up": books.hung_up,
        "given_up": books.given_up,
        "refusals": dict(books.refusals),
        "cut_short": sum(trace.finish_reason == "cancelled" for trace in traces),
        "back_s": load.quantiles(back),
    }


def wrong(books: Books, traces: list[Trace]) -> dict[str, int]:
    """Answers that were acknowledged and are not there as they were; and answers that are there more than that."""
    there = {trace.response: (trace.digest(), trace.fee) for trace in traces}
    lost = sum(there.get(response) != account for response, account in books.acknowledged.items())
    twice = len(traces) - len(there)
    unasked = len(there.keys() - books.acknowledged.keys())
    return {"lost": lost, "doubled": twice + unasked + books.contradicted}


async def _keep(service: Service) -> None:
    """The service, again and again."""
    while True:
        assert service.child is not None
        await service.child.wait()
        with suppress(RuntimeError):  # it was killed before it served
            await service.start()


def _kill(service: Service, *, engine: bool) -> str:
    """Who was killed: the engine, if it was to be and there is one now."""
    pid = engine_of(service.pid) if engine else 0
    with suppress(ProcessLookupError):
        os.kill(pid or service.pid, signal.SIGKILL)
    return "engine" if pid else "service"


async def _progress(books: Books, people: list[asyncio.Task[None]]) -> float:
    """Wait until as many were answered as there are people; seconds that it took."""
    begun, before = time.monotonic(), len(books.acknowledged)
    while len(books.acknowledged) < before + PEOPLE:
        for someone in people:
            if someone.done():
                someone.result()
        if time.monotonic() - begun > PROGRESS_SECONDS:
            raise RuntimeError(f"nothing was answered for {PROGRESS_SECONDS} s; refusals were {books.refusals}")
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def _someone(
    service: Service, books: Books, stop: asyncio.Event, models: list[str], number: int, tokens: int
) -> None:
    chance, count = random.Random(number), 0
    while not stop.is_set():
        [prompt] = load.questions(1, f"person {number}, {count}")
        ask = Ask(prompt, tokens, chance.choice(models), tenant=number % 3, leaves=int(chance.random() < HANG_UPS))
        await _pursue(service, books, ask, uuid.UUID(int=chance.getrandbits(128), version=4))
        count += 1


async def _pursue(service: Service, books: Books, ask: Ask, request_id: uuid.UUID) -> None:
    """Ask the same until there is an account."""
    request, client, leaves = generate(ask, str(request_id)), service.client(ask.tenant), ask.leaves
    while True:
        try:
            async with aclosing(client.stream(client.openlora.Generate, request, 120)) as chunks:
                async for chunk in chunks:
                    if chunk.HasField("summary"):
                        account = chunk.summary.trace_sha256, int(chunk.summary.fee)
                        books.contradicted += books.acknowledged.setdefault(chunk.response, account) != account
                        return
                    if leaves:
                        books.hung_up += 1
                        leaves = 0
                        break
        except ApiError as error:
            books.refusals[error.reason] += 1
            if error.reason in GIVE_UP:
                books.given_up += 1
                return
            if error.code.name in LASTING:
                raise
            await asyncio.sleep(0.2)
