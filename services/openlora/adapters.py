"""From a revision's name to an adapter that the engine has loaded, kept while it is wanted, and gone when others are.

Loading begins when somebody first holds an adapter, goes on while they queue, and is done once for all who ask; at most
a few are loaded at a time, those first that were waited for longest.  What is wrong with one adapter is an error for
whoever asks for it, and for nobody else.  Does not know who pays for an adapter's use, nor how the engine keeps it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from openledger.artifacts import ArtifactError
from openledger.manifest import LineageManifest
from services.kit import logs
from services.kit.errors import Fault, precondition
from services.openlora.engine import AdapterRef, AdapterRejected, Engine, RequestPoisonous
from services.openlora.hold import Hold, State, Status
from services.openlora.line import Line
from services.openlora.residency import Residency
from services.openlora.shelf import Shelf

__all__ = ["BASE", "Adapters", "Hold", "State", "Status"]

BASE = "base"
"""The model name that stands for the base model alone."""

_TRY_AGAIN_SECONDS = 30.0
_NOT_LOADED = "not in memory: it is loaded when it is asked for"

log = logs.logger("openlora")


class Adapters:
    """The adapters of one base model, from the shelf into the engine.

    Args:
        places: adapters that the engine keeps in memory.
        share: of these, as many as the requests of one tenant may take, so that nobody's queue is everybody's memory.
        loads: adapters that are loaded at a time.
    """

    def __init__(
        self,
        shelf: Shelf,
        engine: Engine,
        *,
        places: int = 32,
        share: int = 16,
        loads: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shelf, self._engine, self._clock = shelf, engine, clock
        self._memory, self._share = Residency(places), share
        self._line = Line(loads, self._askers)
        self._users: dict[str, Counter[str]] = {}
        """Which tenants' requests hold it, by name of the model."""
        self.pinned: set[str] = set()
        self._tried: dict[str, float] = {}
        """When the pinned ones were last asked for by nobody else."""
        self._known: dict[str, Status] = {}
        self._loads: dict[str, asyncio.Task[AdapterRef | None]] = {}
        self._left = asyncio.Event()
        """Set when somebody let go of an adapter, so that there may be room."""
        self.counts: Counter[str] = Counter()
        """`hit`: in memory when it was asked for; `loaded`; `evicted`."""

    @asynccontextmanager
    async def hold(self, model: str, tenant: str = "") -> AsyncIterator[Hold]:
        """Have the model's adapter made ready, and kept while this is held.  tenant: "" has no share to keep to."""
        users = self._users.setdefault(model, Counter())
        users[tenant] += 1
        try:
            found = self._wanted(model)
            self._line.look()
            yield Hold(found)
        finally:
            users[tenant] -= 1
            if not users[tenant]:
                del users[tenant]
            if not users:
                del self._users[model]
            self._left.set()
            self._line.look()

    def statuses(self) -> Iterable[Status]:
        """Every adapter that was found in the store, by name."""
        self._forget_lost()
        return [self._known[name] for name in sorted(self._known)]

    async def status(self, model: str) -> Status:
        """How ready a revision is that there is.  Raises `Fault`: UNKNOWN_MODEL or UNKNOWN_ADAPTER."""
        self._forget_lost()
        if model not in self._known:
            about = self.shelf.about(await asyncio.to_thread(self.shelf.find, model))
            return self._known.get(model) or Status(model, State.EVICTED, about=about, message=_NOT_LOADED)
        return self._known[model]

    async def must_be_served(self, model: str) -> None:
        """Raises `Fault` for a model that there is not, or that is not served here.  Moves nothing."""
        if model != BASE and model not in self._known:
            self.shelf.check(await asyncio.to_thread(self.shelf.find, model))

    async def note(self, model: str) -> Status:
        """A revision is there from now on, and can be asked for."""
        return self._known.setdefault(model, await self.status(model))

    def pin(self, model: str) -> None:
        """Keep a revision in memory; it is brought there by `tend`."""
        self.pinned.add(model)

    def unpin(self, model: str) -> None:
        """Keep it there no longer than others."""
        self.pinned.discard(model)
        self._tried.pop(model, None)
        self._left.set()

    async def tend(self) -> None:
        """Have in memory what is pinned and is not there, unless that was tried a moment ago."""
        self._forget_lost()
        for model in sorted(self.pinned):
            again = self._clock() - self._tried.get(model, -_TRY_AGAIN_SECONDS) >= _TRY_AGAIN_SECONDS
            if again and model not in self._loads and not self._is_ready(model):
                self._tried[model] = self._clock()
                self._load_once(model)

    async def close(self) -> None:
        """Give up what is being loaded."""
        loads = list(self._loads.values())
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    def _wanted(self, model: str) -> asyncio.Future[AdapterRef | None]:
        found: asyncio.Future[AdapterRef | None] = asyncio.get_running_loop().create_future()
        if model == BASE:
            found.set_result(None)
        elif self._is_ready(model):
            self.counts["hit"] += 1
            self._memory.use(model)
            found.set_result(self._known[model].ref)
        elif (fault := self._failure(model)) is not None:
            found.set_exception(fault.with_traceback(None))  # the engine is not kept busy with what it refused just now
        else:
            return self._load_once(model)
        return found

    def _is_ready(self, model: str) -> bool:
        known = self._known.get(model)
        return known is not None and known.ref is not None and known.ref.digest in self._engine.resident()

    def _failure(self, model: str) -> Fault | None:
        """What was wrong with it a moment ago."""
        known = self._known.get(model)
        return known.fault if known is not None and self._clock() - known.when < _TRY_AGAIN_SECONDS else None

    def _load_once(self, model: str) -> asyncio.Task[AdapterRef | None]:
        task = self._loads.get(model)
        if task is None or task.done():
            self._lost(model)  # or its old place would be in the way of its new one
            # Its own task: it goes on for the others when whoever asked first is gone.
            task = self._loads[model] = asyncio.create_task(self._load(model))
            task.add_done_callback(lambda done: self._loaded(model, done))
        return task

    def _loaded(self, model: str, task: asyncio.Task[AdapterRef | None]) -> None:
        if self._loads.get(model) is task:
            del self._loads[model]
        if not task.cancelled() and (error := task.exception()) is not None and model in self.pinned:
            log.warning("a pinned adapter is not in memory", model=model, error=str(error))

    async def _load(self, model: str) -> AdapterRef | None:
        lineage = await asyncio.to_thread(self.shelf.find, model)
        before, about = self._known.get(model), self.shelf.about(lineage)
        self._now(model, State.LOADING, about=about)
        try:
            self.shelf.check(lineage)
            async with self._line.turn(model):
                ref = await self._bring(model, lineage)
        except Fault as fault:
            # Another one to remember: with this one's traceback the whole manifest would stay in memory.
            same = Fault(fault.code, fault.reason, fault.message, metadata=fault.metadata)
            self._now(model, State.FAILED, message=fault.message, fault=same)
            raise
        except BaseException:
            if before is None:
                del self._known[model]
            else:
                self._known[model] = before
            raise
        self._now(model, State.READY, ref=ref)
        self.counts["loaded"] += 1
        return ref

    async def _bring(self, model: str, lineage: LineageManifest) -> AdapterRef:
        """Onto the disk, and into the engine."""
        self._must_be_wanted(model)
        try:
            ref = AdapterRef(lineage.digest, await self.shelf.fetch(lineage, self._digests_in_use))
            await self._make_room(model)
            self._memory.add(model, 1, 0.0)  # its place, before anybody else takes it
            began = self._clock()
            try:
                await self._engine.load(ref)
            except BaseException:
                self._memory.remove(model)
                raise
            self._memory.add(model, 1, self._clock() - began)
        except (ArtifactError, AdapterRejected) as error:
            text = f"{model} cannot be served: {error}"
            raise precondition("ADAPTER_REJECTED", text, model=model) from None
        except RequestPoisonous as error:
            raise precondition("POISONOUS_REQUEST", f"{model} cannot be loaded: {error}", model=model) from None
        return ref

    async def _make_room(self, model: str) -> None:
        """Evict what is cheapest to do without; wait while all of it is in use."""
        self._forget_lost()
        while not self._memory.fits(1):
            victim = self._memory.victim(1, self._stays_in_memory)
            if victim is None:
                self._left.clear()
                await self._left.wait()
                self._must_be_wanted(model)
                self._forget_lost()
                continue
            known = self._known[victim]
            self._memory.remove(victim)
            self._now(victim, State.EVICTED, message=f"made room for {model}; {_NOT_LOADED}")
            self.counts["evicted"] += 1
            if known.ref is not None:
                await self._engine.unload(known.ref.digest)

    def _askers(self, model: str) -> int | None:
        """How many wait for it; None where all of them have as many places as they may."""
        users = self._users.get(model, Counter())
        if model in self.pinned or not users:
            return users.total() + (model in self.pinned)
        return sum(count for tenant, count in users.items() if self._may_have_more(tenant)) or None

    def _may_have_more(self, tenant: str) -> bool:
        taken = self._line.at_work.union(self._memory.names())
        return not tenant or sum(tenant in self._users.get(name, ()) for name in taken) < self._share

    def _must_be_wanted(self, model: str) -> None:
        """Ends a load that nobody waits for any more, and nobody's room is taken for it."""
        if model not in self._users and model not in self.pinned:
            raise asyncio.CancelledError

    def _stays_in_memory(self, model: str) -> bool:
        return model in self._users or model in self.pinned or model in self._loads

    def _digests_in_use(self) -> set[str]:
        """What must stay on the disk; what is in memory too, since an engine may want to read it once more."""
        models = (*self._users, *self.pinned, *self._loads, *self._memory.names())
        return {model.rpartition("/")[2] for model in models}

    def _forget_lost(self) -> None:
        """What the engine has no longer, because it was started anew, is not ready."""
        for model in self._memory.names():
            if model not in self._loads and not self._is_ready(model):
                self._lost(model)
                self._line.look()

    def _lost(self, model: str) -> None:
        """Nothing that is not in the engine has a place in memory, or is called ready."""
        self._memory.remove(model)
        if model in self._known and self._known[model].state is State.READY:
            self._now(model, State.EVICTED, message=f"the engine was started anew; {_NOT_LOADED}")

    def _now(self, model: str, state: State, **more: Any) -> None:
        about = more.pop("about", None) or self._known[model].about
        self._known[model] = Status(model, state, self._clock(), about, **more)
