"""The verb: answer a question, charge its payer, and leave a trace that says what the answer was made of.

Text goes out while it is generated.  The account, which says that the answer is complete, goes out after the trace is
on disk and not before; from then on the same request id gives the same answer from the trace, charged once.

The engine's tokens are what is sold.  An answer that its asker leaves, or that takes longer than one may, is made of
those that were handed over by then: charged, kept and given again.  What ends before the first one, or by a failure on
this side, is charged nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from openledger.trace import Trace
from services.kit import logs
from services.kit.errors import Fault, from_exception, invalid, precondition, unavailable
from services.openlora.adapters import Adapters, Hold
from services.openlora.admission import Admission, Ask, Place
from services.openlora.draft import CANCELLED, TIME, Draft, Made
from services.openlora.engine import (
    AdapterRejected,
    Engine,
    EngineDead,
    EngineRequest,
    RequestPoisonous,
    RequestRejected,
)
from services.openlora.estimate import Estimate, estimate
from services.openlora.meters import Meters
from services.openlora.pieces import Piece, Pieces
from services.openlora.prices import Prices
from services.openlora.purse import Reservation
from services.openlora.question import Limits, Question
from services.openlora.space import DISK_FULL, Space
from services.openlora.spend import Spending
from services.openlora.tracelog import TraceLog

E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True)
class Account:
    """The account of an answer that is on disk.  `fee` in atomic units."""

    finish_reason: str
    tokens_in: int
    tokens_out: int
    fee: int
    trace_sha256: str


@dataclass(frozen=True)
class Terms:
    """What every answer here has in common."""

    made: Made
    prices: Prices
    limits: Limits
    seconds: float
    """The longest that waiting for and generating an answer may take."""


@dataclass
class _Work:
    """A question in hand.  `storing` goes on to its end whoever leaves."""

    question: Question
    answering: asyncio.Task[Account] | None = None
    storing: asyncio.Task[Account] | None = None


class Answers:
    """Answers questions, one after the other or many at once."""

    def __init__(
        self,
        terms: Terms,
        engine: Engine,
        adapters: Adapters,
        spending: Spending,
        traces: TraceLog,
        admission: Admission,
        space: Space,
        meters: Meters,
    ) -> None:
        self._terms, self._engine, self._adapters = terms, engine, adapters
        self._spending, self._traces, self._meters = spending, traces, meters
        self._admission, self._space = admission, space
        self._in_hand: dict[str, _Work] = {}
        self._leaving = False
        self._log = logs.logger("openlora")

    async def answer(self, question: Question) -> AsyncGenerator[Piece | Account, None]:
        """The answer's text in pieces, then its account.  Raises `Fault`.

        Whoever stops listening before the account stops the answer, and pays for what was generated of it.
        """
        other = self._in_hand.get(question.key)
        if other is not None:
            raise question.asked_again(other.question)
        work = self._in_hand[question.key] = _Work(question)
        pieces = Pieces()
        # A task of its own: a slow reader must not keep the engine, nor a timeout reach into who reads.
        task = work.answering = asyncio.create_task(self._answer(work, pieces.say))
        task.add_done_callback(lambda _: self._done(work, pieces))
        try:
            while (piece := await pieces.next()) is not None:
                yield piece
            yield await task
        finally:
            task.cancel()

    def estimate(self, question: Question) -> Estimate:
        """What the answer would cost.  Raises `Fault` for a question that would be refused.

        Its payer's money is fetched in the background, so that the answer need not wait for that.
        """
        found = estimate(question, self._terms.limits, self._terms.prices)
        self._spending.expect(question.payer)
        return found

    def leave(self) -> None:
        """The service is about to end: what it will cut off from now on is charged nothing."""
        self._leaving = True

    async def close(self) -> None:
        """Break off what is being answered, until its money is free again, and wait for what is being stored."""
        answering = [work.answering for work in self._in_hand.values() if work.answering is not None]
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        storing = [work.storing for work in self._in_hand.values() if work.storing is not None]
        await asyncio.gather(*storing, return_exceptions=True)

    def _done(self, work: _Work, pieces: Pieces) -> None:
        if work.storing is None or work.storing.done():
            del self._in_hand[work.question.key]
        else:
            work.storing.add_done_callback(lambda _: self._in_hand.pop(work.question.key))
        pieces.end()

    async def _answer(self, work: _Work, say: Callable[[Piece], None]) -> Account:
        try:
            trace = await self._traces.get(work.question.key)
            if trace is not None:
                account = self._again(work.question, trace, say)
            else:
                account = await self._anew(work, say)
        except asyncio.CancelledError:
            self._meters.answers.labels("cancelled").inc()
            raise
        except Exception as error:
            fault = _fault(error)
            self._meters.answers.labels(fault.reason).inc()
            if fault is error:
                raise
            raise fault from error
        self._meters.answers.labels("completed" if trace is None else "repeated").inc()
        return account

    def _again(self, question: Question, trace: Trace, say: Callable[[Piece], None]) -> Account:
        question.check_same(trace)
        say(Piece(self._engine.text(trace.completion_token_ids, question.how.stop)))
        return _account(trace)

    async def _anew(self, work: _Work, say: Callable[[Piece], None]) -> Account:
        question = work.question
        self._terms.limits.check(question)
        self._space.check()
        self._traces.check()
        ask = Ask(question.payer, question.model, len(question.prompt), question.max_tokens)
        with self._admission.enter(ask) as place:
            trace, reservation, left = await self._make(question, ask, place, self._timed(say))
            work.storing = asyncio.create_task(self._store(trace, reservation))
            try:
                if left is not None:
                    raise left  # the key stays in hand until it is stored
                return await asyncio.shield(work.storing)
            except asyncio.CancelledError:
                work.storing.add_done_callback(lambda storing: _unheard(question, storing))
                raise

    async def _make(
        self, question: Question, ask: Ask, place: Place, say: Callable[[Piece], None]
    ) -> tuple[Trace, Reservation, asyncio.CancelledError | None]:
        """The answer's trace, what is reserved for it, and that its asker left meanwhile, if so.

        The turn and the engine are free again by then, and whatever is raised has reserved nothing.
        """
        draft, reservation, left = Draft(question), None, None
        price = self._terms.prices.of(ask.model)
        try:
            try:
                async with asyncio.timeout(self._terms.seconds) as limit:
                    await self._adapters.must_be_served(ask.model)
                    # Money before adapters: whoever has none must not move them about.
                    with self._space.watched():
                        reservation = await self._spending.reserve(ask.tenant, price.fee(ask.tokens_in, ask.max_tokens))
                    async with self._adapters.hold(ask.model, ask.tenant) as hold, place.turn(hold):
                        await self._generate(draft, hold, place, say)
            except asyncio.CancelledError as cut:
                left = self._cut(draft, CANCELLED, cut)
            except TimeoutError as cut:
                if not limit.expired():
                    raise  # somebody else's
                self._cut(draft, TIME, cut)
                self._say_rest(draft, say)
            assert reservation is not None
            return draft.trace(self._terms.made, price, reservation.lease.name), reservation, left
        except BaseException:
            if reservation is not None:
                reservation.cancel()
            raise

    def _cut(self, draft: Draft, reason: str, cut: E) -> E:
        """End a draft with what there is of it.  Raises `cut` if that is nothing, or if it is cut off by us."""
        if not draft.tokens or self._leaving:
            raise cut
        draft.close(reason)
        return cut

    def _timed(self, say: Callable[[Piece], None]) -> Callable[[Piece], None]:
        asked, silent = time.monotonic(), True

        def timed(piece: Piece) -> None:
            nonlocal silent
            if silent:
                silent = False
                self._meters.first_text.observe(time.monotonic() - asked)
            say(piece)

        return timed

    async def _generate(self, draft: Draft, hold: Hold, place: Place, say: Callable[[Piece], None]) -> None:
        question = draft.question
        request = EngineRequest(question.key, question.prompt, question.how, await hold.ref())
        draft.begin()
        async with aclosing(self._engine.generate(request)) as stream:
            async for piece in stream:
                draft.add(piece.token_ids, piece.finish_reason)
                place.made(len(piece.token_ids))
                draft.shown += len(piece.text)
                if piece.text or piece.logprobs:
                    say(Piece(piece.text, piece.logprobs))

    def _say_rest(self, draft: Draft, say: Callable[[Piece], None]) -> None:
        """What the engine held back, since a stop text might have begun in it, and what is charged like all of it."""
        rest = self._engine.text(draft.tokens, draft.question.how.stop)[draft.shown :]
        if rest:
            say(Piece(rest))

    async def _store(self, trace: Trace, reservation: Reservation) -> Account:
        try:
            with self._space.watched():
                offset = await self._traces.append(trace)
        except Exception as error:
            # Only a full disk is sure to have undone it.  What is counted here too much, the log puts right when the
            # lease is given back; what is counted too little could let the lease be overdrawn.
            reservation.settle(0 if from_exception(error).reason == DISK_FULL else trace.fee)
            raise
        reservation.settle(trace.fee)
        self._meters.tokens_in.inc(len(trace.prompt_token_ids))
        self._meters.tokens_out.inc(len(trace.completion_token_ids))
        self._meters.trace_log.set(offset)
        account = _account(trace)
        self._log.info("answer", response=trace.response, model=trace.adapter or trace.base, trace=account.trace_sha256)
        return account


def _unheard(question: Question, storing: asyncio.Task[Account]) -> None:
    """Nobody waits for it: what went wrong is said here."""
    if not storing.cancelled() and (why := storing.exception()) is not None:
        logs.logger("openlora").warning("an answer without asker is lost", response=question.response, error=str(why))


def _account(trace: Trace) -> Account:
    return Account(
        trace.finish_reason,
        len(trace.prompt_token_ids),
        len(trace.completion_token_ids),
        trace.fee,
        trace.digest(),
    )


def _fault(error: Exception) -> Fault:
    """What the caller is told: the engine's own words, and that nothing was charged."""
    if isinstance(error, EngineDead):
        text = f"the engine cannot answer ({error}); nothing was charged. Send the same request again in a moment"
        return unavailable("ENGINE_UNAVAILABLE", text, retry_after=error.retry_after)
    if isinstance(error, RequestPoisonous):
        return precondition("POISONOUS_REQUEST", f"{error}. Nothing was charged; ask for something else")
    if isinstance(error, RequestRejected):
        return invalid("REQUEST_REJECTED", f"the engine does not take this request: {error}")
    if isinstance(error, AdapterRejected):
        return precondition("ADAPTER_REJECTED", f"the adapter cannot be served: {error}")
    return from_exception(error)
