"""What the demo remembers between its runs: its people's keys, and which run this is.

A run that was broken off goes on under its old number, so that nothing is contributed, trained, asked or paid twice;
but a question in the middle of whose answer it was broken off is put anew.
What failed for good is attempted under the next number.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from openledger.client import Wallet

_SPACE = uuid.UUID("5d2f7b1e-6e0c-4b0e-9d55-0f5f5c6f8a01")


@dataclass
class State:
    """The demo's memory, in a file of the installation's key folder."""

    path: Path
    run: int = 1
    wallets: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> State:
        """What is remembered, or a fresh start."""
        if not path.exists():
            return cls(path)
        stored = json.loads(path.read_text())
        return cls(path, stored["run"], stored["wallets"], stored.get("attempts", {}))

    def wallet(self, who: str) -> Wallet:
        """Somebody's wallet; made when first asked for, and kept."""
        if who not in self.wallets:
            self.wallets[who] = Wallet.create().private_key
            self.save()
        return Wallet(self.wallets[who])

    def request_id(self, what: str, *, once: bool = False) -> str:
        """The request id of a step: the same for the same step of the same run; with `once`, of every run.

        It depends on the wallets, so two installations never share one.
        """
        anchor = self.wallet("payer").address
        return str(uuid.uuid5(_SPACE, f"{anchor}/{'' if once else self.run}/{what}"))

    def attempt(self, what: str) -> int:
        """Which attempt at a step this is, from 1."""
        return self.attempts.get(what, 1)

    def next_attempt(self, what: str) -> int:
        """The attempt at hand failed for good: the number of the next one, which is remembered."""
        self.attempts[what] = self.attempt(what) + 1
        self.save()
        return self.attempts[what]

    def finish_run(self) -> None:
        """The next start is a new run."""
        self.run += 1
        self.save()

    def save(self) -> None:
        """Write it, readable by the owner alone."""
        temporary = self.path.with_suffix(".new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"run": self.run, "wallets": self.wallets, "attempts": self.attempts}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
