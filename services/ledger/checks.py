"""The service's own looks at the books: at what is new all the time, at everything now and then, and never in a hurry.

A look adds the postings that came since the last one to its control totals (`control`), and compares every book with
them.  A look at everything begins at the first journal and goes on where it was broken off; it takes a piece, and rests
three times as long as that took.  What neither names is found, posting by posting, by `check`.  What this does not
know: what the chain holds (`reconcile`).
"""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, DBAPIError

from services.kit import logs
from services.kit.database import Database, one_moment
from services.kit.metrics import Metrics
from services.ledger import control
from services.ledger.check import Found, check
from services.ledger.control import ControlTotals
from services.ledger.store import control as store
from services.ledger.store.control import RUNNING, WHOLE, Kept

UNREAD = "the books cannot be read: see the ledger's log and docs/operating.md"
ADDING = "the books are being added up from the first journal on: no root goes out before that has ended"
AGAIN_SECONDS = 60.0
"""How soon it looks again while something is wrong."""
PIECE = 2000
"""Journals that are added without a rest."""
SHARE = 0.25
"""Of a core, that looks take."""
_KEEP_SECONDS = 60.0


class Checks:
    """Looks every `seconds` at what is new and every `whole_seconds` at everything, for ever.

    What is found is counted and logged, and stays for an operator to look at.  While anything is wrong, no epoch is
    closed and no root proposed, and it looks again more often.
    """

    def __init__(self, database: Database, metrics: Metrics, *, seconds: float, whole_seconds: float) -> None:
        self._database, self._seconds, self._whole_seconds = database, seconds, whole_seconds
        self._log = logs.logger("ledger")
        self._alone, self._ending, self._ended = asyncio.Lock(), asyncio.Lock(), 0
        self.looked = asyncio.Event()
        """Set once there are totals."""
        self.totals = ControlTotals.of_nothing()
        """Of the last look, whatever it found."""
        self.trouble: str | None = None
        """What is wrong; empty if nothing is, None before the first look."""
        self._adding = False
        self._journals = metrics.gauge("journals_unbalanced", "Journals whose postings do not sum to zero")
        self._books = metrics.gauge("books_wrong", "Books that do not hold what their postings say")

    @property
    def in_the_way(self) -> str | None:
        """Why no root is proposed; empty if nothing is wrong, None for the moment that a first look takes."""
        return ADDING if self._adding and self.trouble is None else self.trouble

    async def run(self) -> None:
        """Look at what is new, for ever."""
        while True:
            begun = time.monotonic()
            found = await self.step()
            again = max(AGAIN_SECONDS, time.monotonic() - begun)
            await asyncio.sleep(self._seconds if found.ok else min(self._seconds, again))

    async def run_whole(self) -> None:
        """Look at everything, for ever."""
        while True:
            if await self._is_due():
                await self.whole()
            await asyncio.sleep(min(self._whole_seconds, AGAIN_SECONDS))

    async def step(self) -> Found:
        """Look at what is new; at everything, where nothing says up to where all was right.

        What cannot be read is trouble as well, and raises.
        """
        try:
            found = await self._new()
            self._adding = found is None
            return found or await self.whole()
        except Exception:
            self.trouble = UNREAD
            raise

    async def whole(self) -> Found:
        """Look at everything, unless another look at everything ended well meanwhile.  Raises as `step` does."""
        before = self._ended
        async with self._alone:
            if self._ended != before and (found := await self._new()):
                return found
            try:
                return await self._everything()
            except Exception as error:
                if _is_damage(error):  # else it passes, and what was right until now is: `step` says how it stands
                    self.trouble = UNREAD
                    await self._database.write(lambda c: store.forget(c, RUNNING))
                raise

    async def _is_due(self) -> bool:
        kept = await self._database.read(lambda c: store.kept(c, RUNNING))
        return kept is None or self._is_old(kept)

    def _is_old(self, kept: Kept) -> bool:
        return not 0 <= time.time() - kept.whole_time < self._whole_seconds

    async def _new(self) -> Found | None:
        """What a look at what is new finds; None where it cannot be said what that is."""
        async with self._ending:
            kept = await self._database.read(lambda c: store.kept(c, RUNNING))
            if kept is None:
                return None
            totals, odd = await self._reached(kept.totals, whole=False)
            return await self._end(totals, odd, whole=False)

    async def _everything(self) -> Found:
        begun = await self._database.read(lambda c: store.kept(c, WHOLE))
        # What was added long ago may have been changed since.
        totals = ControlTotals.of_nothing() if begun is None or self._is_old(begun) else begun.totals
        totals, odd = await self._reached(totals, whole=True)
        async with self._ending:
            return await self._end(totals, odd, whole=True)

    async def _end(self, totals: ControlTotals, odd: list[int], *, whole: bool) -> Found:
        """The last piece, together with the books; and what is made of it."""
        right = False
        if not odd:
            totals, right = await self._database.read(lambda c: _rest(c, totals))
        found = Found([], []) if right else await self._database.read(check)
        if right:
            await self._database.write(lambda c: _keep(c, totals, whole))
            self._ended += whole
        elif whole or found.ok:  # what was kept does not say any more up to where all was right
            await self._database.write(lambda c: store.forget(c, RUNNING, WHOLE))
        self._tell(totals, found)
        return found

    async def _reached(self, totals: ControlTotals, whole: bool) -> tuple[ControlTotals, list[int]]:
        """Near the last journal, or where the first ones do not balance."""
        kept_at, odd, more = time.monotonic(), list[int](), True
        while more and not odd:
            begun = time.monotonic()
            totals, odd, more = await self._database.read(lambda c, at=totals: _piece(c, at))  # type: ignore[misc]
            took = time.monotonic() - begun
            if whole and more and not odd and time.monotonic() - kept_at > _KEEP_SECONDS:
                await self._database.write(lambda c, at=totals: store.begin(c, WHOLE, at, int(time.time())))  # type: ignore[misc]
                kept_at = time.monotonic()
            if more and not odd:
                await asyncio.sleep(took / SHARE - took)
        return totals, odd

    def _tell(self, totals: ControlTotals, found: Found) -> None:
        self.totals, self.trouble = totals, found.words
        self.looked.set()
        self._journals.set(len(found.journals))
        self._books.set(len(found.books))
        if not found.ok:
            self._log.critical(
                "the books are wrong", journals=found.journals[:10], books=[one.book for one in found.books[:10]]
            )


def _is_damage(error: Exception) -> bool:
    """Whether something stored cannot be read: an amount that is no number, or what the database itself cannot read.

    Not that the database is away, has no connection left, or ended a transaction that took too long.
    """
    if not isinstance(error, DBAPIError):
        return isinstance(error, (ValueError, ArithmeticError))
    state = getattr(error.orig, "sqlstate", None)
    return state.startswith("XX") if state else type(error) is DatabaseError  # by PostgreSQL; by SQLite


def _piece(connection: Connection, totals: ControlTotals) -> tuple[ControlTotals, list[int], bool]:
    """The totals a piece further, journals that do not balance, and whether another piece comes before the last one."""
    last = store.last(connection)
    up_to = totals.journals + PIECE
    if up_to >= last:
        return totals, [], False
    totals, odd = control.add(totals, store.lines(connection, totals.journals, up_to), up_to)
    return totals, odd, up_to + PIECE < last


def _rest(connection: Connection, totals: ControlTotals) -> tuple[ControlTotals, bool]:
    """The totals up to the last journal, and whether all journals balance and the books hold what they say."""
    one_moment(connection)
    last = store.last(connection)
    totals, odd = control.add(totals, store.lines(connection, totals.journals), last)
    return totals, not odd and totals.agree(store.books(connection))


def _keep(connection: Connection, totals: ControlTotals, whole: bool) -> None:
    if whole:
        store.forget(connection, WHOLE)
        store.begin(connection, RUNNING, totals, int(time.time()))
    else:
        store.go_on(connection, totals)
