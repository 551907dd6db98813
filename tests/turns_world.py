"""An admission with an engine in virtual time.

Each step reads the prompts that are new, and generates one token of every answer that has a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field

from services.openlora.admission import Admission, Ask, Bounds, Place

STEP = 0.05
"""Seconds."""


class Ready:
    """An adapter that is in memory."""

    ready = True

    async def ref(self) -> None:
        return None


@dataclass
class Turns:
    """`running` is how many answers were generated in each step, `changes` how many adapters took a slot.

    `read`: seconds that a token of a prompt takes.
    """

    bounds: Bounds
    read: float = 0.0
    now: float = 0.0
    running: list[int] = field(default_factory=list)
    changes: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    """Generated, by tenant."""

    def __post_init__(self) -> None:
        self.admission = Admission(self.bounds, clock=lambda: self.now)
        self._step = asyncio.Event()
        self._unread = 0

    async def step(self) -> None:
        await self._step.wait()

    async def pause(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            await self.step()

    async def ask(self, tenant: str = "a", model: str = "base", *, tokens: int = 5, prompt: int = 10) -> float:
        """One answer; gives the seconds from asking to its first token."""
        asked, first = self.now, 0.0
        with self.admission.enter(Ask(tenant, model, prompt, tokens)) as place:
            async with place.turn(Ready()):
                self._unread += prompt
                for count in range(tokens):
                    await self.step()
                    place.made(1)
                    self.tokens[tenant] = self.tokens.get(tenant, 0) + 1
                    first = first if count else self.now
        return first - asked

    async def run(self, work: Iterable[Awaitable[float]], seconds: float = 10_000) -> list[float]:
        """Steps until all of the work is done, or the time is over: what was done by then."""
        tasks = [asyncio.ensure_future(each) for each in work]
        active: set[str] = set()
        while not all(task.done() for task in tasks) and self.now < seconds:
            await settle()
            self.running.append(self.admission.running)
            self.changes += len(set(self.admission.active) - active)
            active = set(self.admission.active)
            self.now += STEP + self.read * self._unread
            self._unread = 0
            self._step.set()
            self._step = asyncio.Event()
        done = [task.result() for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done


async def settle() -> None:
    """Lets everybody do what is to be done before the next step."""
    for _ in range(8):
        await asyncio.sleep(0)


async def taken(admission: Admission, ask: Ask, until: asyncio.Event, order: list[Ask] | None = None) -> Place:
    """Has a turn until something happens."""
    with admission.enter(ask) as place:
        async with place.turn(Ready()):
            if order is not None:
                order.append(ask)
            await until.wait()
    return place
