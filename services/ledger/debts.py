"""Who owes: payers with less than nothing, since the chain took back what they had spent, or had leased by then.

A debt is shown and never hidden; the payer's next deposit pays it.  What this does not know: who makes debts
(`chain_follower` and `consume`, which have it told).
"""

from __future__ import annotations

from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger.store import events


class Debts:
    """Tells of debts, to the log and to /metrics.  Call `tell` whenever they may have changed."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._owed: dict[str, int] = {}
        self._log = logs.logger("ledger")
        self._open = metrics.gauge("payer_debt_open", "Atomic units spent that the chain then took back")

    @property
    def told(self) -> int:
        """Atomic units owed, all together, as they were told last."""
        return sum(self._owed.values())

    async def tell(self) -> None:
        """Who owes now, for everybody to see."""
        owed = await self._database.read(events.debts)
        self._open.set(sum(owed.values()))
        if owed and owed != self._owed:
            self._log.error(
                "payers spent what the chain took back; it is theirs to bring in again",
                payers={who: str(amount) for who, amount in sorted(owed.items())[:10]},
            )
        self._owed = owed
