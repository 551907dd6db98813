"""Who is taken in, and whose turn at the engine it is.

Few answers are generated at once, with few adapters; some requests wait, and the rest is sent away with advice.  Turns
go to the tenant that was served least (`fair`), as far as its adapter has a slot (`plan`).  Some turns on top are for
tenants that have less than an equal part, so that whoever asks little need not wait for whoever asks much; and while
several are here, prompts are read a few at a time.  Does not know what is generated, nor what it costs.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from services.kit.errors import Fault, exhausted
from services.openlora.adapters import BASE
from services.openlora.fair import REPLAY, Fairness
from services.openlora.pace import Pace
from services.openlora.plan import Planner

_NO_LIMIT = 2**31


class Hold(Protocol):
    """An adapter that was asked for."""

    @property
    def ready(self) -> bool:
        """Whether `ref` returns or raises at once."""

    async def ref(self) -> object:
        """Returns when it is ready; raises what keeps it from being so."""


@dataclass(frozen=True)
class Ask:
    """What somebody wants of the engine: `tenant` pays, and may get `max_tokens` on top of `tokens_in`."""

    tenant: str
    model: str
    tokens_in: int
    max_tokens: int


@dataclass(frozen=True)
class Bounds:
    """How much is taken in at once.

    Attributes:
        running: answers being generated.
        queued: requests that wait.
        slots: different adapters that answers are generated with.
        spare: answers being generated on top of `running`, for tenants that have less than an equal part of those.
        slot_seconds: how long an adapter keeps its slot at least while others want it.
        queued_per_tenant: requests of one tenant that wait.
        queued_per_adapter: requests for one adapter that wait.
        running_per_tenant: answers to one tenant being generated; what it asks beyond that waits.
        reading: tokens of prompts that the engine reads at once while several tenants are here; a tenant with less than
            an equal part of turns is held up by its own prompts alone.  What is read in a step of the engine makes it
            longer, and everybody wait whose answer goes on or begins after it.
    """

    running: int
    queued: int
    slots: int = _NO_LIMIT
    spare: int = 0
    slot_seconds: float = 2.0
    queued_per_tenant: int = _NO_LIMIT
    queued_per_adapter: int = _NO_LIMIT
    running_per_tenant: int = _NO_LIMIT
    reading: int = _NO_LIMIT


class Place:
    """A request that was let in, from beginning to end."""

    def __init__(self, admission: Admission, ask: Ask, number: int) -> None:
        self._admission, self.ask, self.number = admission, ask, number
        self.tenant, self.tokens = ask.tenant, ask.tokens_in + ask.max_tokens
        self.adapter = "" if ask.model == BASE else ask.model
        self.running = False
        self.last_made: float | None = None
        self.sent_away: Fault | None = None
        """Why it is no longer one of those that wait."""
        self.news = asyncio.Event()
        """Set when it was sent away."""

    @asynccontextmanager
    async def turn(self, hold: Hold) -> AsyncIterator[None]:
        """A turn at the engine with an adapter that is ready.  Raises what kept the adapter from it, or QUEUE_FULL."""
        await self._ready(hold)
        await self._admission.wait(self)
        try:
            yield
        finally:
            self._admission.end(self)

    async def _ready(self, hold: Hold) -> None:
        """Wait for the adapter, or for being sent away meanwhile.  Raises what kept it from either."""
        if not hold.ready:
            first = [asyncio.ensure_future(wait) for wait in (hold.ref(), self.news.wait())]
            try:
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in first:
                    task.cancel()
                await asyncio.gather(*first, return_exceptions=True)
        if self.sent_away is not None:
            raise self.sent_away
        await hold.ref()

    def made(self, tokens: int) -> None:
        """So many tokens more were generated."""
        if tokens:
            self._admission.made(self, tokens)


class Admission:
    """Lets in, gives turns, sends away.

    `seen` is told of everything that is generated: the model, how many tokens, and after how many seconds each, except
    of an answer's first.
    """

    def __init__(
        self,
        bounds: Bounds,
        seen: Callable[[str, int, float | None], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds, self._seen, self._clock = bounds, seen, clock
        self._fair, self._planner, self._pace = Fairness(), Planner(bounds.slots, bounds.slot_seconds), Pace()
        self._numbers = itertools.count()
        self._places: set[Place] = set()
        self._waiting: dict[Place, asyncio.Future[None]] = {}
        """Whose adapter is ready and who has no turn yet."""
        self._turns: Counter[str] = Counter()
        """Of each tenant, of whom it has any."""
        self._reading: Counter[str] = Counter()
        """Of each tenant: tokens of its prompts whose answers have not begun."""
        self.running = 0
        """Turns that are taken."""

    @property
    def queued(self) -> int:
        """Requests that were let in and have no turn yet."""
        return len(self._places) - self.running

    @property
    def queue(self) -> Iterable[Ask]:
        """What they ask for."""
        return [place.ask for place in self._places if not place.running]

    @property
    def active(self) -> Iterable[str]:
        """The adapters that answers are being generated with."""
        return self._planner.active

    @contextmanager
    def enter(self, ask: Ask) -> Iterator[Place]:
        """A place from beginning to end.  Raises `Fault` TENANT_BUSY, ADAPTER_BUSY or QUEUE_FULL."""
        place = Place(self, ask, next(self._numbers))
        self._check_limits(place)
        self._places.add(place)
        try:
            yield place
        finally:
            self._places.discard(place)

    async def wait(self, place: Place) -> None:
        """Returns when it is the place's turn, which ends with `end`."""
        turn = self._waiting[place] = asyncio.get_running_loop().create_future()
        self._fair.arrive(place.tenant)
        self._dispatch()
        try:
            await turn
        except BaseException:
            if place.running:  # its turn came in the moment in which it left
                self.end(place)
            elif place in self._waiting:
                self._remove(place)
                self._dispatch()  # a slot that was to be cleared for it can be used again
            raise

    def made(self, place: Place, tokens: int) -> None:
        """In the place's turn so many tokens were generated."""
        now = self._clock()
        self._fair.made(place.tenant, tokens)
        self._seen(place.ask.model, tokens, None if place.last_made is None else (now - place.last_made) / tokens)
        first, place.last_made = place.last_made is None, now
        if first:
            self._reading -= Counter({place.tenant: place.ask.tokens_in})
            self._dispatch()

    def end(self, place: Place) -> None:
        """The place's turn is over."""
        self._pace.note(self._clock(), ended=1, working=True)
        if place.last_made is None:
            self._reading -= Counter({place.tenant: place.ask.tokens_in})
        place.running = False
        self.running -= 1
        self._turns -= Counter([place.tenant])  # which keeps only those that have any left
        self._fair.end(place.tenant)
        self._planner.end(place.adapter)
        self._places.discard(place)
        self._dispatch()

    def _dispatch(self) -> None:
        """Gives every turn that can be given."""
        now = self._clock()
        while self.running < self._bounds.running + self._bounds.spare:
            place = self._planner.choose(self._in_order(), now, partial(self._may_begin, self._tenants()))
            if place is None:
                return
            self._pace.note(now, working=self.running > 0)
            place.running = True
            self.running += 1
            self._turns[place.tenant] += 1
            self._reading[place.tenant] += place.ask.tokens_in
            self._fair.begin(place.tenant, place.ask.tokens_in)
            self._planner.begin(place.adapter, now)
            self._waiting.pop(place).set_result(None)

    def _in_order(self) -> list[Place]:
        """Who waits for a turn, and may have one more: the tenant that was served least first, of one tenant by age."""
        limit = self._bounds.running_per_tenant
        places = [place for place in self._there() if self._turns[place.tenant] < limit]
        return sorted(places, key=lambda place: (self._fair.rank(place.tenant), place.number))

    def _there(self) -> list[Place]:
        """Who waits for a turn: without those that have left already, and did not hear of it yet."""
        return [place for place, turn in self._waiting.items() if not turn.done()]

    def _may_begin(self, tenants: int, place: Place) -> bool:
        little = self._has_little(place.tenant, tenants)
        if self.running >= self._bounds.running and not little:
            return False
        reading = self._reading[place.tenant] if little else self._reading.total()
        return tenants < 2 or not reading or reading + place.ask.tokens_in <= self._bounds.reading

    def _tenants(self) -> int:
        """How many have a turn or wait for one.  Not who waits for an adapter, or has no money yet."""
        return len(({place.tenant for place in self._there()} | self._turns.keys()) - {REPLAY})

    def _has_little(self, tenant: str, tenants: int) -> bool:
        """Whether it has fewer turns than an equal part would be of those that are nobody's spare ones."""
        return tenant != REPLAY and self._turns[tenant] < max(1, self._bounds.running // max(1, tenants))

    def _remove(self, place: Place) -> asyncio.Future[None]:
        self._fair.give_up(place.tenant)
        return self._waiting.pop(place)

    def _check_limits(self, new: Place) -> None:
        bounds, queue = self._bounds, [place for place in self._places if not place.running]
        same_tenant = sum(place.tenant == new.tenant for place in queue)
        if same_tenant >= bounds.queued_per_tenant:
            tenants = len({place.tenant for place in queue})
            text = f"{same_tenant} of your requests wait already, as many as may; send this one again later"
            raise self._sent_away("TENANT_BUSY", text, same_tenant * tenants)
        same_adapter = sum(place.adapter == new.adapter for place in queue if new.adapter)
        if same_adapter >= bounds.queued_per_adapter:
            text = f"{same_adapter} requests wait for this adapter already, as many as may; send this one again later"
            raise self._sent_away("ADAPTER_BUSY", text, same_adapter)
        room = bounds.running + bounds.queued + (bounds.spare if self._has_little(new.tenant, self._tenants()) else 0)
        if len(self._places) >= room and not self._make_room(new.tenant, same_tenant):
            text = f"{len(self._places)} requests are being answered or wait already; try again in a moment"
            raise self._sent_away("QUEUE_FULL", text, len(queue))

    def _make_room(self, newcomer: str, same_tenant: int) -> bool:
        """Send away the youngest of the tenant that waits with most, for one that waits with less.

        So nobody can fill the queue against others (McKenney, Stochastic Fairness Queueing, 1990).
        """
        # Also those that have no adapter yet, or not even their money: there could be nobody else.
        there = [place for place in self._places if not place.running]
        [(tenant, most)] = Counter(place.tenant for place in there).most_common(1) or [("", 0)]
        if most <= same_tenant + 1 or newcomer == REPLAY:
            return False
        youngest = max((place for place in there if place.tenant == tenant), key=lambda place: place.number)
        self._places.discard(youngest)
        text = f"the queue is full and {most} of the requests in it are yours; the latest made room for somebody else's"
        youngest.sent_away = self._sent_away("QUEUE_FULL", text, most)
        youngest.news.set()
        if youngest in self._waiting:
            turn = self._remove(youngest)
            if not turn.done():  # else it is leaving by itself
                turn.set_exception(youngest.sent_away)
                turn.exception()  # seen, should it leave at this moment
        return True

    def _sent_away(self, reason: str, text: str, before: int) -> Fault:
        self._pace.note(self._clock(), working=self.running > 0)
        return exhausted(reason, text, retry_after=round(self._pace.seconds_for(before), 1))
