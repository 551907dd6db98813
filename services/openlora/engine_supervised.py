"""An engine that is opened again when it dies, and that keeps out the request which kills it.

Whoever was in the engine hears `EngineDead` and can ask again; until the next one is open everybody does. Many deaths
in a short time are not healed here: then the whole process had better be started anew. What it does not know: which
engine it is, and how a process ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress

from services.kit import logs
from services.openlora.engine import (
    AdapterRef,
    ChatMessage,
    Engine,
    EngineDead,
    EngineDelta,
    EngineRequest,
    RequestPoisonous,
)
from services.openlora.suspects import Suspects, adapter_mark, request_mark

_BACKOFF_FIRST, _BACKOFF_MOST = 1.0, 30.0
_DEATHS, _WITHIN = 5, 60.0
_log = logs.logger("openlora")


class SupervisedEngine:
    """See `services.openlora.engine.Engine`; around `engine`, which took `took` seconds to open, and those after it.

    `give_up` is called at the fifth death within a minute, after which there is no other engine.
    """

    def __init__(
        self,
        engine: Engine,
        reopen: Callable[[], Awaitable[Engine]],
        give_up: Callable[[], None],
        *,
        took: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._reopen, self._give_up = engine, reopen, give_up
        self._took, self._clock = took, clock
        self._suspects = Suspects()
        self._news = asyncio.Event()
        """Set, and replaced, whenever somebody leaves the engine or the wait for it, or it dies."""
        self._deaths: deque[float] = deque(maxlen=_DEATHS)
        self._why = ""
        """Why there is no engine now; empty while there is one."""
        self._back_at = 0.0
        self._restart: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    @classmethod
    async def open(cls, reopen: Callable[[], Awaitable[Engine]], give_up: Callable[[], None]) -> SupervisedEngine:
        """Open the first one.  Raises `EngineDead`: it cannot run here; says why."""
        begun = time.monotonic()
        engine = await reopen()
        return cls(engine, reopen, give_up, took=time.monotonic() - begun)

    @property
    def name(self) -> str:
        """See the port."""
        return self._engine.name

    @property
    def version(self) -> str:
        """See the port."""
        return self._engine.version

    @property
    def description(self) -> str:
        """See the port."""
        return self._engine.description

    @property
    def context(self) -> int:
        """See the port."""
        return self._engine.context

    @property
    def samples(self) -> frozenset[str]:
        """See the port."""
        return self._engine.samples

    # Text needs no process, so a dead engine still knows it.

    def tokenize(self, prompt: str) -> tuple[int, ...]:
        """See the port."""
        return self._engine.tokenize(prompt)

    def tokenize_chat(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        """See the port."""
        return self._engine.tokenize_chat(messages)

    def encode(self, text: str) -> tuple[int, ...]:
        """See the port."""
        return self._engine.encode(text)

    def around(self, asked: str | Sequence[ChatMessage]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """See the port."""
        return self._engine.around(asked)

    def text(self, token_ids: Sequence[int], stop: tuple[str, ...] = ()) -> str:
        """See the port."""
        return self._engine.text(token_ids, stop)

    async def load(self, adapter: AdapterRef) -> None:
        """See the port.  An adapter that the engine dies of is a poisonous request, too."""
        async with self._inside(adapter_mark(adapter)) as engine:
            await engine.load(adapter)

    async def unload(self, digest: str) -> None:
        """See the port."""
        if not self._why:
            async with self._watched(self._engine) as engine:
                await engine.unload(digest)

    def resident(self) -> frozenset[str]:
        """See the port."""
        return frozenset() if self._why else self._engine.resident()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """See the port.

        Raises:
            RequestPoisonous: the engine died of it before.
        """
        async with (
            self._inside(request_mark(request)) as engine,
            aclosing(engine.generate(request)) as deltas,
        ):
            async for delta in deltas:
                yield delta

    async def abort(self, request_id: str) -> None:
        """See the port."""
        if not self._why:
            async with self._watched(self._engine) as engine:
                await engine.abort(request_id)

    async def health(self) -> None:
        """See the port.  Whoever asks regularly makes a death known when nobody is being answered."""
        self._check()
        async with self._watched(self._engine) as engine:
            await engine.health()

    async def close(self) -> None:
        """See the port."""
        self._closing.set()
        if self._restart is not None:
            await self._restart  # it ends soon: an engine on its way up is waited for, or it would be left behind
        await self._engine.close()

    @asynccontextmanager
    async def _inside(self, mark: bytes) -> AsyncIterator[Engine]:
        """Within: in the engine, in company that the request may have."""
        await self._enter(mark)
        try:
            async with self._watched(self._engine) as engine:
                yield engine
            self._suspects.answered(mark)
        finally:
            self._suspects.leave(mark)
            self._tell()

    async def _enter(self, mark: bytes) -> None:
        self._check()
        if seconds := self._suspects.poisonous(mark, self._clock()):
            raise RequestPoisonous(f"the engine died of this request before; it is not taken for {seconds:.0f} seconds")
        wanted = self._suspects.isolation(mark, self._clock())
        try:
            with self._suspects.waiting(wanted):
                while not self._suspects.may_enter(wanted, self._clock()):
                    await self._news.wait()
                    self._check()
        except BaseException:
            self._tell()  # who waited for this one to come in first need not any more
            raise
        self._suspects.enter(mark)

    def _check(self) -> None:
        if self._why:
            raise EngineDead(self._why, max(1.0, self._back_at - self._clock()))

    @asynccontextmanager
    async def _watched(self, engine: Engine) -> AsyncIterator[Engine]:
        try:
            yield engine
        except EngineDead as error:
            self._died(engine, str(error))
            self._check()
            raise

    def _died(self, engine: Engine, why: str) -> None:
        """The first one to notice that an engine is dead says so; those that hear of it later say nothing new."""
        if engine is not self._engine or self._why or self._closing.is_set():
            return
        now = self._clock()
        self._suspects.died(now)
        self._deaths.append(now)
        self._why, self._back_at = f"{why}; another one is being started", now + self._took
        self._tell()
        if len(self._deaths) == _DEATHS and now - self._deaths[0] < _WITHIN:
            _log.error("the engine dies again and again", deaths=_DEATHS, within_seconds=_WITHIN, error=why)
            self._why = f"{why}, for the {_DEATHS}th time within a minute"
            self._give_up()
        else:
            _log.error("the engine died", error=why)
            self._restart = asyncio.create_task(self._open_again())

    async def _open_again(self) -> None:
        with suppress(Exception):  # it is dead; what is left of it is its own affair
            await self._engine.close()
        pause = _BACKOFF_FIRST
        while not self._closing.is_set():
            begun = self._clock()
            self._back_at = begun + self._took
            try:
                self._engine = await self._reopen()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next try is what can be done
                _log.error("the engine does not start", error=str(error), again_in=pause)
                self._why, self._back_at = f"the engine does not start: {error}", self._clock() + pause + self._took
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), pause)
                pause = min(_BACKOFF_MOST, pause * 2)
                continue
            self._took, self._why = self._clock() - begun, ""
            _log.info("the engine is back", seconds=round(self._took, 1))
            return

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
