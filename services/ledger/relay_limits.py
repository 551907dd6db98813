"""What the relayer pays gas for: nothing that is worth less than the gas, and not without end for anybody.

Whoever is refused can send the transaction itself.  An account is free to make, so its budget bounds mistakes; what
bounds people with many accounts is that each transaction must move something.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from openledger.money import format_open
from services.kit.errors import exhausted, precondition
from services.kit.idempotency import Idempotency

GAS = {
    "RelayDeposit": 140_000,
    "RelayAuthorisedDeposit": 140_000,
    "RelayClaim": 110_000,
    "RelaySignedClaim": 140_000,
    "RelayTransfer": 90_000,
}
"""What one of each takes at most, the first of an account (contracts/snapshots)."""
DAY = timedelta(days=1)
AGAIN_SECONDS = 3600.0


@dataclass(frozen=True)
class Limits:
    """Atomic units that a relayed deposit, and a relayed claim or transfer, must move; gas an account has in a day."""

    deposit: int
    claim: int
    gas: int

    def check_deposit(self, amount: int) -> None:
        """Raises `Fault` when it is not worth the gas."""
        _worth(amount, self.deposit, "a deposit")

    def check_claim(self, amount: int) -> None:
        """Raises `Fault` when it is not worth the gas."""
        _worth(amount, self.claim, "a claim")

    def check_transfer(self, amount: int) -> None:
        """Raises `Fault` when it is not worth the gas."""
        _worth(amount, self.claim, "a transfer")

    def check_budget(self, connection: Connection, idempotency: Idempotency, caller: str, method: str) -> None:
        """Raises `Fault` when the caller has had its gas for today.  Call it where requests are taken one by one."""
        since = datetime.now(UTC) - DAY
        counts = idempotency.counts(connection, caller, since)
        used = sum(GAS[made] * count for made, count in counts.items() if made in GAS)
        if used + GAS[method] > self.gas:
            raise exhausted(
                "RELAY_BUDGET_SPENT",
                f"the relayer pays {self.gas} gas a day for {caller}, and {used} are used: send it yourself, or later",
                retry_after=AGAIN_SECONDS,
                gas=str(self.gas),
            )


def _worth(amount: int, least: int, what: str) -> None:
    if amount < least:
        raise precondition(
            "TOO_SMALL_TO_RELAY",
            f"the relayer pays no gas for {what} of less than {format_open(least)} OPEN, and this moves "
            f"{format_open(amount)}: wait until there is more, or send the transaction yourself",
            at_least=str(least),
        )
