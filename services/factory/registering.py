"""Background work: every published revision gets on chain, however long the registry is away and whoever dies.

`Registrar` is the port to whoever writes on chain; registering a revision again is registering it once.  All that the
loop knows is in the store: revisions without a registration.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.factory import store_revisions
from services.factory.bell import Bell, rung
from services.factory.model import Registration, Revision
from services.kit import logs
from services.kit.database import Database

_AT_ONCE, _FIRST_PAUSE = 8, 0.2


class NotRegistered(Exception):
    """A revision is not on chain yet; the message says why, and that it is worth another try."""


class Registrar(Protocol):
    """Writes adapter revisions on chain: their manifest's digest, index root and base."""

    async def register(self, revision: Revision) -> Registration:
        """Returns once it is final on chain.  Raises `NotRegistered`."""


class Registering:
    """The loop.  poll and backoff are seconds: how often to look, and the longest pause between tries."""

    def __init__(self, database: Database, registrar: Registrar, bell: Bell, poll: float, backoff: float) -> None:
        self._database, self._registrar, self._bell = database, registrar, bell
        self._poll, self._backoff = poll, backoff
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._said: dict[str, str] = {}
        self._log = logs.logger("factory")

    async def run(self) -> None:
        """Endless; the service's server starts it again when it fails."""
        pause = _FIRST_PAUSE
        while True:
            changed = self._bell.next()
            # All of them each time: one that is refused for good must not keep the others waiting.
            waiting = await self._database.read(store_revisions.unregistered)
            async with asyncio.TaskGroup() as group:
                tries = [group.create_task(self._try(name)) for name in waiting]
            if all(one.result() for one in tries):
                pause = _FIRST_PAUSE
                await rung(changed, self._poll)
            else:
                await asyncio.sleep(pause)
                pause = min(self._backoff, pause * 2)

    async def _try(self, name: str) -> bool:
        async with self._room:
            revision = await self._database.read(lambda c: store_revisions.find_revision(c, name))
            assert revision is not None
            try:
                registration = await self._registrar.register(revision)
            except NotRegistered as problem:
                self._say(name, str(problem))
                return False
            except Exception as error:  # noqa: BLE001 - one revision's trouble must not keep the others waiting
                self._say(name, repr(error))
                return False
        await self._database.write(lambda c: store_revisions.register(c, name, registration))
        self._said.pop(name, None)
        self._log.info("registered", revision=name, transaction=registration.transaction)
        return True

    def _say(self, name: str, problem: str) -> None:
        """Once, not at every try."""
        if self._said.get(name) != problem:
            self._said[name] = problem
            self._log.warning("not registered yet", revision=name, error=problem)
