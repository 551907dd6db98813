"""Adapters that operators keep in memory, whatever else is asked for; also over the service's end.

A batch of other adapters always keeps its room: so many can be pinned as there are places beyond that.
"""

from __future__ import annotations

from services.kit import call
from services.kit.database import Database
from services.kit.errors import denied, precondition
from services.openlora import store_adapters
from services.openlora.adapters import Adapters


class Pins:
    """operators: lower-case addresses; most: how many adapters can be pinned."""

    def __init__(self, database: Database, adapters: Adapters, operators: frozenset[str], most: int) -> None:
        self._database, self._adapters, self._operators, self._most = database, adapters, operators, most

    async def open(self) -> None:
        """Bring back what is pinned."""
        for model in sorted(await self._database.read(store_adapters.pinned))[: self._most]:
            self._adapters.pin(model)

    def must_be_operator(self) -> None:
        """Raises `Fault` OPERATORS_ONLY."""
        if call.principal().address not in self._operators:
            raise denied("OPERATORS_ONLY", "adapters are pinned by operators: OPENLEDGER_OPENLORA_OPERATORS names them")

    async def pin(self, model: str) -> None:
        """Keep a revision that there is in memory; it is on its way there.  Raises `Fault` TOO_MANY_PINNED."""
        if model not in self._adapters.pinned and len(self._adapters.pinned) >= self._most:
            raise precondition(
                "TOO_MANY_PINNED",
                f"{self._most} adapters can be pinned (OPENLEDGER_OPENLORA_MAX_ADAPTERS less MAX_ACTIVE_ADAPTERS), and "
                "so many are: unpin one first",
                limit=str(self._most),
            )
        self._adapters.pin(model)
        await self._database.write(lambda c: store_adapters.pin(c, model, on=True))
        await self._adapters.tend()

    async def unpin(self, model: str) -> None:
        """Keep it no longer than others."""
        await self._database.write(lambda c: store_adapters.pin(c, model, on=False))
        self._adapters.unpin(model)
