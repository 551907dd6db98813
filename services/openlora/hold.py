"""What there is to know of an adapter: how ready it is, for people; when it is ready, for the request that holds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from services.kit.errors import Fault
from services.openlora.engine import AdapterRef
from services.openlora.shelf import About


class State(Enum):
    """How ready an adapter is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    EVICTED = "evicted"


@dataclass(frozen=True)
class Status:
    """An adapter, and how ready it is since when; `message` says why it is not, `when` is on the monotonic clock."""

    name: str
    state: State
    when: float = 0.0
    about: About | None = None
    message: str = ""
    fault: Fault | None = None
    ref: AdapterRef | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


class Hold:
    """The adapter of one request, wanted from the moment it is taken in until it is answered.

    `news` is set when `ready` may have changed.
    """

    def __init__(self, found: asyncio.Future[AdapterRef | None]) -> None:
        self._found, self.news = found, asyncio.Event()
        found.add_done_callback(self._done)

    @property
    def ready(self) -> bool:
        """Whether `ref` returns or raises at once."""
        return self._found.done()

    async def ref(self) -> AdapterRef | None:
        """What the engine knows it by, once it has it; None for `base`.

        Raises `Fault`: UNKNOWN_MODEL, UNKNOWN_ADAPTER, WRONG_BASE, UNTRUSTED_SIGNER, ADAPTER_REJECTED or
        POISONOUS_REQUEST; `EngineDead`.
        """
        return await asyncio.shield(self._found)

    def _done(self, found: asyncio.Future[AdapterRef | None]) -> None:
        if not found.cancelled():
            found.exception()  # seen, even if nobody asks for it
        self.news.set()
