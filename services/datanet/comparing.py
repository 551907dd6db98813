"""The verb "compare": what is about to come in is compared with what reads like it, before others have to wait for it.

First with all that is there, while others come in, then with what came meanwhile, until nothing did; then in its turn,
in the transaction that takes it, with the little that came since.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from services.datanet import store_alike, store_likeness
from services.datanet.liken import Likening
from services.datanet.likeness import Text
from services.datanet.model import Duplicates, Policy
from services.datanet.store_alike import Looked, Meeting, MuchCame
from services.datanet.turns import Turns
from services.datanet.vault import Vault
from services.kit.database import Database
from services.kit.errors import aborted
from services.kit.wait import to_its_end, whole

T = TypeVar("T")

_COMPARED, _COMPARING = 10, 2
"""Records that are compared in one transaction, and uploads of which some are: others' questions come in between.  To
compare one takes some milliseconds, and at worst, with 640 others, some fifty."""
_ROUNDS, _TURNS = 3, 3
"""How often it is looked again for what came meanwhile before a turn is asked for, and how many turns are had."""
_NUMBER = 8
"""Bytes of memory of a record that one is like."""


class Comparing:
    """What comes in, one after the other, whose datanet's owner asks for it compared with what reads alike."""

    def __init__(self, database: Database, vault: Vault, likening: Likening) -> None:
        self._database, self._vault, self._likening = database, vault, likening
        self._at_once, self._turns = asyncio.Semaphore(_COMPARING), Turns(1)
        # Those that wait for their turn need no thread of the database's.
        self._turn = asyncio.Lock()

    async def in_turn(
        self,
        who: str,
        policy: Policy,
        texts: Sequence[Text],
        hold: Callable[[int], None],
        act: Callable[[Looked | None], Coroutine[Any, Any, T]],
    ) -> T:
        """What `act` answers, which takes the texts in: told what they are like, or None where the policy asks not.

        It is not broken off, and nobody's else runs.  who: of whom one thing is compared at a time.  hold: is told of
        bytes of memory.  Raises `Fault` where nothing can be compared yet, and where so much comes in that it would
        have to be compared while everybody waits.
        """
        looked = None
        if policy.duplicates is Duplicates.REFUSE:
            async with self._turns.of(who):
                looked = await self._look(texts, hold)
        for left in reversed(range(_TURNS)):
            try:
                async with self._turn:
                    return await whole(act(looked))
            except MuchCame:
                if looked is None:
                    raise
                if left:
                    async with self._turns.of(who):
                        await self._look_again(looked, texts, hold)
        raise aborted(
            "MUCH_CAME_MEANWHILE",
            "while this was compared with what is there, more came in, again and again, than it can be compared with "
            "while others wait. Nothing was taken: send it again, a part at a time if it is large",
        )

    async def _look(self, texts: Sequence[Text], hold: Callable[[int], None]) -> Looked:
        await self._likening.check()
        looked = Looked(await self._database.read(store_likeness.last), {})
        for some in store_alike.pieces(texts, _COMPARED):
            async with self._at_once:
                like = await self._database.read(lambda c, some=some: store_alike.like(c, self._vault, some))  # type: ignore[misc]
            _add(looked, like, hold)
        await self._look_again(looked, texts, hold)
        return looked

    async def _look_again(self, looked: Looked, texts: Sequence[Text], hold: Callable[[int], None]) -> None:
        """At what came meanwhile, and at what came while that was looked at."""
        for _ in range(_ROUNDS):
            numbers = await self._database.read(lambda c: store_alike.since(c, looked.last))
            if not numbers:
                return
            meeting = await to_its_end(Meeting, texts)
            for some in store_alike.pieces(numbers):
                rows = await self._database.read(lambda c, some=some: store_alike.rows_of(c, some))  # type: ignore[misc]
                async with self._at_once:
                    found = await to_its_end(meeting.compare, self._vault, rows)
                _add(looked, found, hold)
            looked.last = max(numbers)


def _add(looked: Looked, found: Mapping[str, array[int]], hold: Callable[[int], None]) -> None:
    hold(_NUMBER * sum(map(len, found.values())))
    looked.add(found)
