"""So many things at once for each account: who asks for many waits for its own, and others do not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """Turns of accounts, each in the order in which it was asked for."""

    def __init__(self, at_once: int) -> None:
        """at_once: of one account."""
        self._at_once = at_once
        self._of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, account: str) -> AsyncIterator[None]:
        """A turn of this account, for as long as the context lasts."""
        turns = self._of.get(account)
        if turns is None:
            self._of[account] = turns = asyncio.Semaphore(self._at_once)
        async with turns:
            yield
