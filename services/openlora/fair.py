"""Who is next among tenants: the one that was served least, counted in tokens.  Pure: no clock, no queue.

A virtual token counter for each tenant (Sheng et al., Fairness in Serving Large Language Models, OSDI 2024): a prompt
token counts 1, a token of an answer 2, when it is given and not when it is asked for.  Whoever comes to wait begins no
lower than where the least served of those who wait stands, so that nobody saves up turns by staying away; and whoever
leaves with more than that keeps it.  Does not know what a turn is, nor which adapters answers need.
"""

from __future__ import annotations

from collections import Counter

PROMPT, ANSWER = 1, 2
"""What a token of each counts."""

REPLAY = "replay"
"""The tenant that comes after everybody else: the service's own checks, for which nobody waits."""

_REMEMBERED = 10_000


class Fairness:
    """Counters of the tenants that have something here, and of those who left ahead of the others.

    `remembered` bounds how many of the latter; beyond that those are forgotten who were ahead by least.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        self._waiting: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._counters: dict[str, int] = {}
        self._floor = 0
        """Where whoever comes begins.  Falls only when nobody is here."""

    def __len__(self) -> int:
        """How many tenants are remembered."""
        return len(self._counters)

    def rank(self, tenant: str) -> tuple[bool, int]:
        """Sorts tenants that are here: who was served least comes first."""
        return tenant == REPLAY, self._counters[tenant]

    def arrive(self, tenant: str) -> None:
        """The tenant waits for a turn, or for one more."""
        if not self._waiting[tenant]:
            self._raise_floor()
            self._counters[tenant] = max(self._counters.get(tenant, 0), self._floor)
        self._waiting[tenant] += 1

    def give_up(self, tenant: str) -> None:
        """It waits for one turn less, and got none."""
        self._leave(self._waiting, tenant)

    def begin(self, tenant: str, prompt: int) -> None:
        """It got the turn that it waited for, and its prompt of so many tokens is read."""
        self._counters[tenant] += PROMPT * prompt
        self._running[tenant] += 1
        self._leave(self._waiting, tenant)

    def made(self, tenant: str, answer: int) -> None:
        """In a turn of the tenant so many tokens were generated."""
        self._counters[tenant] += ANSWER * answer

    def end(self, tenant: str) -> None:
        """One of its turns is over."""
        self._leave(self._running, tenant)

    def _leave(self, those: Counter[str], tenant: str) -> None:
        self._raise_floor()
        those[tenant] -= 1
        if not those[tenant]:
            del those[tenant]
            if tenant not in self._waiting and tenant not in self._running:
                self._forget()

    def _raise_floor(self) -> None:
        least = min((self._counters[tenant] for tenant in self._waiting if tenant != REPLAY), default=0)
        self._floor = max(self._floor, least)

    def _forget(self) -> None:
        """All to whom it makes no difference; everybody when nobody is here, for then there is nobody to be fair to."""
        here = self._waiting.keys() | self._running.keys()
        if not here:
            self._counters.clear()
            self._floor = 0
            return
        ahead = [t for t, counter in self._counters.items() if t not in here and counter > self._floor]
        ahead = sorted(ahead, key=self._counters.__getitem__, reverse=True)[: self._remembered]
        self._counters = {tenant: self._counters[tenant] for tenant in (*here, *ahead)}
