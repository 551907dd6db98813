"""What the relayer pays gas for: nothing that is worth less than the gas, and not without end for anybody.

Whoever is refused can send the transaction itself.  An account is free to make, so its budget bounds mistakes, and what
a contract wallet may have the relayer burn; what bounds people with many accounts is that each transaction must move
something.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from openledger.money import format_open
from services.kit.errors import exhausted, precondition
from services.ledger import gas_bounds
from services.ledger.signing import signed_terms
from services.ledger.store import chain as store

KINDS = ("deposit", "claim", "transfer")
"""With which the keys of relayed transactions begin; then comes the account of whom each is."""
_ADDRESS = 42  # characters
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

    def check_budget(self, connection: Connection, key: str) -> None:
        """Raises `Fault` when the account of that key has had its gas for today.  Call it once that is planned.

        Each nonce counts with the gas that was signed for it, whoever asked and whatever became of it; what is planned
        with the most that it may take.
        """
        account = key.partition(":")[2][:_ADDRESS]
        signed, planned = store.relayed(connection, [f"{kind}:{account}" for kind in KINDS], datetime.now(UTC) - DAY)
        used = sum(signed_terms(raw)[0] for raw in signed) + sum(map(gas_bounds.most, planned))
        if used > self.gas:
            raise exhausted(
                "RELAY_BUDGET_SPENT",
                f"the relayer pays {self.gas} gas a day for accounts/{account}, and with this it would be {used}: send "
                "it yourself, or later",
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
