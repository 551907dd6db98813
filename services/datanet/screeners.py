"""The verb "look at records": in workers that have the checks' models loaded, many records at a time.

A record on which a worker dies, or takes too long, is looked at again by itself; if that ends in the same way, that
record alone is refused.  Of an account one batch at a time is in the workers' queue, so that one who gives many records
that take long keeps others waiting for one batch, and not for all.  Knows neither wire nor database, and not what
follows from what is found.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.datanet import screening
from services.datanet.checks import lacking
from services.datanet.draft import Draft
from services.datanet.model import Policy
from services.datanet.screen import Finding
from services.datanet.turns import Turns
from services.kit.contained import NoWorker, TaskRaised, TooSlow, WorkerDied, Workers
from services.kit.errors import unavailable
from services.kit.logs import logger

NOT_CHECKED = Finding(
    "screening",
    passed=False,
    reason="NOT_CHECKED",
    message="it takes too long to look at, or brings down what looks: shorten it, or take out what is unlike text",
)
Findings = tuple[Finding, ...]


class Screeners:
    """Records, looked at in workers, which start with the first record of a datanet whose policy asks for it."""

    def __init__(self, workers: Workers, seconds: float, task: str = screening.TASK) -> None:
        """workers: of the task's module.  seconds: for one batch."""
        self._workers, self._seconds, self._task = workers, seconds, task
        self._turns = Turns(1)

    async def look(self, drafts: Sequence[Draft], policy: Policy, account: str) -> list[Findings]:
        """What is found in each, in order: nothing where the policy asks for nothing.

        account: who waits for it.  Raises `Fault` where nothing can be looked at.
        """
        if not policy.looks or not drafts:
            return [()] * len(drafts)
        async with self._turns.of(account):
            return await self._found(drafts, policy)

    async def _found(self, drafts: Sequence[Draft], policy: Policy) -> list[Findings]:
        try:
            return await self._asked(drafts, policy)
        except (WorkerDied, TooSlow, TaskRaised, ValueError) as error:
            logger("datanet").warning("records were not checked", records=len(drafts), error=type(error).__name__)
        if len(drafts) == 1:
            return [(NOT_CHECKED,)]
        return [findings for draft in drafts for findings in await self._found([draft], policy)]

    async def _asked(self, drafts: Sequence[Draft], policy: Policy) -> list[Findings]:
        """Raises `ValueError` for what is no answer."""
        try:
            said = await self._workers.call(self._task, screening.ask(drafts, policy), self._seconds)
        except NoWorker as error:
            lacks = f"; this machine lacks {', '.join(lacking())}" if lacking() else ""
            message = f"what this datanet's policy asks for cannot be looked for now: {error}{lacks}. Nothing was taken"
            raise unavailable("CHECKS_UNAVAILABLE", message, retry_after=10) from None
        return screening.answered(said, drafts)
