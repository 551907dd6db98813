"""From a revision's name to an adapter that the engine has loaded, checked on the way, loaded once for all who ask.

What is wrong with one adapter is an error for whoever asks for it, and for nobody else.
Does not know who pays for an adapter's use, nor how the engine keeps it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from openledger import names
from openledger.adapters import materialise, read_manifest
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.manifest import LineageManifest
from services.kit.errors import Fault, invalid, not_found, precondition
from services.openlora.engine import AdapterRef, AdapterRejected, Engine

BASE = "base"
"""The model name that stands for the base model alone."""

_TRY_AGAIN_SECONDS = 30.0


class State(Enum):
    """How ready an adapter is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Status:
    """One adapter that was asked for: what the engine knows it by, or why it failed; `when`, on the monotonic clock."""

    name: str
    state: State
    when: float = 0.0
    fault: Fault | None = None
    ref: AdapterRef | None = None


class Hold:
    """The adapter of one request, wanted from the moment it is taken in until it is answered.

    `news` is set when `ready` may have changed.
    """

    def __init__(self, task: asyncio.Task[AdapterRef | None]) -> None:
        self._task, self.news = task, asyncio.Event()
        task.add_done_callback(self._done)

    @property
    def ready(self) -> bool:
        """Whether `ref` returns or raises at once."""
        return self._task.done()

    async def ref(self) -> AdapterRef | None:
        """What the engine knows it by, once it has it; None for `base`.  Raises as `Adapters.ready`."""
        return await asyncio.shield(self._task)

    def _done(self, task: asyncio.Task[AdapterRef | None]) -> None:
        if not task.cancelled():
            task.exception()  # seen, even if nobody asks for it
        self.news.set()


class Adapters:
    """The adapters of one base model, out of the artifact store, into the engine.

    `folder` is where they are unpacked for the engine.
    """

    def __init__(
        self,
        store: ArtifactStore,
        folder: Path,
        base_sha256: str,
        engine: Engine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._folder, self._base_sha256, self._engine = store, folder, base_sha256, engine
        self._clock = clock
        self._known: dict[str, Status] = {}
        self._loads: dict[str, asyncio.Task[AdapterRef]] = {}
        self.counts: Counter[str] = Counter()
        """`hit`: in memory when it was asked for; `loaded`."""

    async def ready(self, model: str) -> AdapterRef | None:
        """What the engine knows the model's adapter by, once it has it; None for `base`.

        Raises `Fault`: UNKNOWN_MODEL, UNKNOWN_ADAPTER, WRONG_BASE or ADAPTER_REJECTED.
        """
        if model == BASE:
            return None
        known = self._known.get(model)
        if known is not None and known.state is State.READY:
            self.counts["hit"] += 1
            return known.ref
        if known is not None and known.fault is not None and self._clock() - known.when < _TRY_AGAIN_SECONDS:
            raise known.fault.with_traceback(None)  # the engine is not kept busy with what it refused just now
        return await asyncio.shield(self._load_once(model))

    @asynccontextmanager
    async def hold(self, model: str) -> AsyncIterator[Hold]:
        """Have the model's adapter made ready at once, and kept while this is held."""
        task = asyncio.create_task(self.ready(model))
        try:
            yield Hold(task)
        finally:
            task.cancel()

    def statuses(self) -> Iterable[Status]:
        """Every adapter that was found in the store, by name."""
        return [self._known[name] for name in sorted(self._known)]

    def _load_once(self, model: str) -> asyncio.Task[AdapterRef]:
        task = self._loads.get(model)
        if task is None:
            # Its own task: it goes on for the others when whoever asked first is gone.
            task = self._loads[model] = asyncio.create_task(self._load(model))
            task.add_done_callback(lambda done: self._loaded(model, done))
        return task

    def _loaded(self, model: str, task: asyncio.Task[AdapterRef]) -> None:
        del self._loads[model]
        if not task.cancelled():
            task.exception()  # seen: whoever waited has raised it, if anyone still does

    async def _load(self, model: str) -> AdapterRef:
        lineage = await asyncio.to_thread(self._find, model)
        self._known[model] = Status(model, State.LOADING, self._clock())
        try:
            ref = await self._check_and_load(model, lineage)
        except Fault as fault:
            self._known[model] = Status(model, State.FAILED, self._clock(), fault)
            raise
        except BaseException:
            del self._known[model]
            raise
        self._known[model] = Status(model, State.READY, self._clock(), ref=ref)
        self.counts["loaded"] += 1
        return ref

    def _find(self, model: str) -> LineageManifest:
        try:
            adapter, digest = names.match("adapters/*/revisions/*", model)
        except ValueError:
            text = f"{model[:120]!r} is no model: take 'base' or adapters/{{adapter}}/revisions/{{digest}}"
            raise invalid("UNKNOWN_MODEL", text, "model") from None
        try:
            lineage = read_manifest(self._store, digest)
        except ArtifactError as error:
            raise _unknown(model, str(error)) from None
        except ValueError as error:
            raise _unknown(model, f"what is published under that digest is no adapter: {error}") from None
        if lineage.adapter != adapter:
            raise _unknown(model, f"that revision is one of adapters/{lineage.adapter}")
        return lineage

    async def _check_and_load(self, model: str, lineage: LineageManifest) -> AdapterRef:
        if lineage.base.sha256 != self._base_sha256:
            raise precondition(
                "WRONG_BASE",
                f"{model} was trained on {lineage.base.name}, whose weights are not those that are served here",
                model=model,
                base=lineage.base.name,
            )
        try:
            folder = await asyncio.to_thread(materialise, self._store, lineage.digest, self._folder)
            ref = AdapterRef(lineage.digest, folder)
            await self._engine.load(ref)
        except (ArtifactError, AdapterRejected) as error:
            text = f"{model} cannot be served: {error}"
            raise precondition("ADAPTER_REJECTED", text, model=model) from None
        return ref


def _unknown(model: str, why: str) -> Fault:
    return not_found("UNKNOWN_ADAPTER", f"there is no {model} here: {why}", model=model)
