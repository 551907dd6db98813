"""Who pays for an answer: a reservation in one of the payer's leases before it is begun, a settlement after.

Leases are asked for in chunks and ahead of need, so that few answers wait for the ledger: a payer's first one with no
estimate before it, one after a long rest, one that costs more than is left.  Whatever happens to this process, every
lease is given back in the end, with what the traces on disk have charged to it.
Does not know what answers cost, nor what a ledger is beyond the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Coroutine
from weakref import WeakValueDictionary

from services.kit import logs
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.errors import Fault, unavailable
from services.openlora import store
from services.openlora.charges import Charges
from services.openlora.leases import LeaseOver, LeaseRefused, LeaseSource
from services.openlora.purse import Lease, Purse, Reservation
from services.openlora.store import Asked

_AGAIN_SECONDS = 30.0
"""How long a payer whose refill was refused is not asked about again ahead of need."""
_AWAY_SECONDS = 1.0
"""How long a ledger that did not answer is taken to be away: callers hear so at once instead of queueing up for it."""
_GOODBYE_SECONDS = 5.0
_RELEASES = uuid.UUID("5d5f0f2c-0f6b-4e9e-9a3f-0c4b8e9d7a11")
"""Namespace of the request ids of releases: the same lease is given back under the same id in every life."""
_UNUSABLE = (
    "the ledger gave {grant.name} over {grant.amount} until {grant.expires:.0f}, less or shorter than an answer needs: "
    "its leases must outlast OPENLEDGER_OPENLORA_MAX_ANSWER_SECONDS"
)


class Spending:
    """The leases of every payer.  `chunk`, `smallest` in atomic units; `margin`, `idle` in seconds.

    `margin` is at least as long as an answer may take.  Leases with less than `smallest` left are of no use.
    """

    def __init__(
        self,
        database: Database,
        log: DurableLog,
        source: LeaseSource,
        *,
        chunk: int,
        smallest: int,
        margin: float,
        idle: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._log, self._source, self._clock = database, log, source, clock
        self._chunk, self._smallest, self._idle = chunk, smallest, idle
        self._purse, self._charges = Purse(margin), Charges(log)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._not_before: dict[str, float] = {}
        self._away: tuple[float, Fault] | None = None
        self._doubtful: dict[str, Asked] = {}
        self._to_release: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Find what former lives left behind; `tend` gives it back.  Call once, before anything else."""
        held = await self._database.read(store.held)
        self._charges.resume({lease.name: lease.log_offset for lease in held})
        self._to_release = {lease.name for lease in held}
        self._doubtful = {asked.request_id: asked for asked in await self._database.read(store.asked)}

    @property
    def leases(self) -> int:
        """How many leases there are that were not given back."""
        return sum(1 for _ in self._purse) + len(self._to_release)

    @property
    def free(self) -> int:
        """What of all leases can still be reserved."""
        return sum(lease.free for lease in self._purse)

    async def reserve(self, account: str, amount: int) -> Reservation:
        """Set aside what an answer may cost.  Raises `Fault`: what the ledger says of the payer, or that it is away."""
        while (reservation := self._purse.reserve(account, amount, self._clock())) is None:
            # Goes on to its end even if this caller is gone meanwhile: half a lease helps nobody.
            await asyncio.shield(self._start(self._acquire(account, amount)))
        self._refill_ahead(account)
        return reservation

    def expect(self, account: str) -> None:
        """An answer may be asked for soon: see to it, in the background, that it need not wait for the ledger."""
        self._refill_ahead(account)

    async def tend(self) -> None:
        """One round of housekeeping: give back what is of no more use, clear up what is in doubt.

        Raises the first `Fault` that came in the way, after everything was tried.
        """
        now = self._clock()
        self._to_release |= {lease.name for lease in self._purse.retire(now, self._idle, self._smallest)}
        self._not_before = {account: when for account, when in self._not_before.items() if when > now}
        work: list[Coroutine[object, object, None]] = [self._release(name) for name in self._to_release]
        work += [self._clear_up(asked) for asked in self._doubtful.values() if not self._lock(asked.account).locked()]
        results = await asyncio.gather(*work, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def close(self) -> None:
        """Give every lease back, if the ledger can be reached; what remains is for the next life."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GOODBYE_SECONDS)
        self._to_release |= {lease.name for lease in self._purse if not lease.held}
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await asyncio.gather(*(self._release(name) for name in tuple(self._to_release)))
        except (Fault, TimeoutError) as error:
            logs.logger("openlora").warning(
                "leases left for the next start", count=len(self._to_release), error=str(error)
            )

    def _lock(self, account: str) -> asyncio.Lock:
        lock = self._locks.get(account)
        if lock is None:
            lock = self._locks[account] = asyncio.Lock()
        return lock

    def _refill_ahead(self, account: str) -> None:
        now = self._clock()
        enough = self._purse.free(account, now) * 2 >= self._chunk
        if not enough and not self._lock(account).locked() and now >= self._not_before.get(account, 0):
            self._start(self._refill(account))

    async def _refill(self, account: str) -> None:
        async with self._lock(account):
            if self._purse.free(account, self._clock()) * 2 >= self._chunk:
                return
            try:
                await self._ask(account, self._chunk)
            except Fault:
                # Not an error: the payer may simply have no more.  Who needs more will be told so.
                self._not_before[account] = self._clock() + _AGAIN_SECONDS

    async def _acquire(self, account: str, need: int) -> None:
        """See to it that some lease has `need` free."""
        async with self._lock(account):
            if not self._purse.fits(account, need, self._clock()):
                await self._get_enough(account, need)

    async def _get_enough(self, account: str, need: int) -> None:
        """A whole chunk; or a smaller one; or just the need; or what unused leases set free, put together."""
        amounts = list(dict.fromkeys(max(part, need) for part in (self._chunk, self._chunk // 8, 0)))
        while amounts:
            try:
                return await self._ask(account, amounts[0])
            except LeaseRefused as error:
                refusal = error
                # The need comes last whatever there is: that refusal says how much is missing for this answer.
                amounts = [amount for amount in amounts[1:] if amount <= error.spendable or amount == need]
        scattered = {lease.name for lease in self._purse.retire_account(account)}
        if not scattered:
            raise refusal
        self._to_release |= scattered
        await asyncio.gather(*(self._release(name) for name in scattered))
        return await self._ask(account, need)

    async def _ask(self, account: str, amount: int) -> None:
        if self._away is not None and self._clock() < self._away[0]:
            raise self._away[1].with_traceback(None)
        offset = (await self._log.read(0, limit=0)).high_watermark
        asked = Asked(str(uuid.uuid4()), account, amount, offset)
        await self._database.write(lambda c: store.ask(c, asked))
        await self._get(asked)

    async def _clear_up(self, asked: Asked) -> None:
        async with self._lock(asked.account):
            if asked.request_id in self._doubtful:
                with contextlib.suppress(LeaseRefused):
                    await self._get(asked)

    async def _get(self, asked: Asked) -> None:
        """Get the lease of that request, asked before or not; until its fate is on disk it counts as doubtful.

        The caller holds the account's lock, so no request is under way twice.
        """
        self._doubtful[asked.request_id] = asked
        try:
            grant = await self._source.acquire(asked.account, asked.amount, asked.request_id)
        except LeaseRefused:
            await self._database.write(lambda c: store.refused(c, asked.request_id))
            del self._doubtful[asked.request_id]
            raise
        except Fault as fault:
            self._away = (self._clock() + _AWAY_SECONDS, fault)
            raise
        self._away = None
        await self._database.write(lambda c: store.hold(c, asked.request_id, grant.name, grant.amount, grant.expires))
        del self._doubtful[asked.request_id]
        self._charges.track(grant.name, asked.log_offset)
        lease = Lease(grant.name, asked.account, grant.amount, grant.expires, last_used=self._clock())
        self._purse.add(lease)
        if not self._purse.usable(lease, asked.amount, self._clock()):
            raise unavailable("LEASE_UNUSABLE", _UNUSABLE.format(grant=grant), retry_after=30)

    async def _release(self, name: str) -> None:
        async with self._lock(name):
            if name not in self._to_release:
                return
            used = await self._charges.used(name)
            try:
                await self._source.release(name, used, str(uuid.uuid5(_RELEASES, name)))
            except LeaseOver as error:
                logs.logger("openlora").warning("a lease had ended before it was given back", error=str(error))
            await self._database.write(lambda c: store.close(c, name, used))
            self._charges.forget(name)
            self._to_release.discard(name)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Fault):
            logs.logger("openlora").error("a lease could not be had", exc_info=error)
