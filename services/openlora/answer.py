"""The verb: answer a question, charge its payer, and leave a trace that says what the answer was made of.

Text goes out while it is generated.  The account, which says that the answer is complete, goes out after the trace is
on disk and not before; from then on the same request id gives the same answer from the trace, charged once.  What ends
before that is charged nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from openledger.trace import Trace
from openledger.trace_proto import time_text
from services.kit.errors import Fault, from_exception, invalid, precondition, unavailable
from services.openlora.adapters import BASE, Adapters
from services.openlora.admission import DISK_FULL, Admission, Ask, Place, Space
from services.openlora.engine import (
    AdapterRef,
    AdapterRejected,
    Engine,
    EngineDead,
    EngineRequest,
    FinishReason,
    RequestPoisonous,
    RequestRejected,
)
from services.openlora.meters import Meters
from services.openlora.prices import Prices
from services.openlora.purse import Reservation
from services.openlora.question import Limits, Question
from services.openlora.spend import Spending
from services.openlora.tracelog import TraceLog


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

    base: str
    base_sha256: str
    prices: Prices
    limits: Limits
    seconds: float
    """The longest that waiting for and generating an answer may take."""


@dataclass
class _Work:
    """A question in hand.  `storing` goes on to its end whoever leaves."""

    question: Question
    storing: asyncio.Task[Account] | None = None


@dataclass(frozen=True)
class _Answer:
    tokens: tuple[int, ...]
    finish_reason: str
    start: datetime
    end: datetime


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

    async def answer(self, question: Question) -> AsyncGenerator[str | Account, None]:
        """The answer's text in pieces, then its account.  Raises `Fault`.

        Whoever stops listening before the account stops the answer.
        """
        other = self._in_hand.get(question.key)
        if other is not None:
            raise question.asked_again(other.question)
        work = self._in_hand[question.key] = _Work(question)
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        # A task of its own: a slow reader must not keep the engine, nor a timeout reach into who reads.
        task = asyncio.create_task(self._answer(work, pieces.put_nowait))
        task.add_done_callback(lambda _: self._done(work, pieces))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            yield await task
        finally:
            task.cancel()

    async def close(self) -> None:
        """Wait for what is being stored."""
        storing = [work.storing for work in self._in_hand.values() if work.storing is not None]
        await asyncio.gather(*storing, return_exceptions=True)

    def _done(self, work: _Work, pieces: asyncio.Queue[str | None]) -> None:
        if work.storing is None or work.storing.done():
            del self._in_hand[work.question.key]
        else:
            work.storing.add_done_callback(lambda _: self._in_hand.pop(work.question.key))
        pieces.put_nowait(None)

    async def _answer(self, work: _Work, say: Callable[[str], None]) -> Account:
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

    def _again(self, question: Question, trace: Trace, say: Callable[[str], None]) -> Account:
        question.check_same(trace)
        say(self._engine.text(trace.completion_token_ids, question.how.stop))
        return _account(trace)

    async def _anew(self, work: _Work, say: Callable[[str], None]) -> Account:
        question = work.question
        self._terms.limits.check(question)
        self._space.check()
        ask = Ask(question.payer, question.model, len(question.prompt), question.max_tokens)
        most = self._terms.prices.of(ask.model).fee(ask.tokens_in, ask.max_tokens)
        with self._admission.enter(ask) as place:
            async with asyncio.timeout(self._terms.seconds), self._adapters.hold(question.model) as hold:
                adapter = await hold.ref()
                with self._space.watched():
                    reservation = await self._spending.reserve(question.payer, most)
                try:
                    async with place.turn(hold):
                        answer = await self._generate(question, adapter, place, self._timed(say))
                    trace = self._trace(question, answer, reservation.lease.name)
                except BaseException:
                    reservation.cancel()
                    raise
            work.storing = asyncio.create_task(self._store(trace, reservation))
            return await asyncio.shield(work.storing)

    def _timed(self, say: Callable[[str], None]) -> Callable[[str], None]:
        asked, silent = time.monotonic(), True

        def timed(text: str) -> None:
            nonlocal silent
            if silent:
                silent = False
                self._meters.first_text.observe(time.monotonic() - asked)
            say(text)

        return timed

    async def _generate(
        self, question: Question, adapter: AdapterRef | None, place: Place, say: Callable[[str], None]
    ) -> _Answer:
        start, tokens, finish_reason = datetime.now(UTC), list[int](), None
        stream = self._engine.generate(EngineRequest(question.key, question.prompt, question.how, adapter))
        async with aclosing(stream):
            async for piece in stream:
                tokens += piece.token_ids
                place.made(len(piece.token_ids))
                finish_reason = piece.finish_reason or finish_reason
                if piece.text:
                    say(piece.text)
        if finish_reason not in (FinishReason.STOP, FinishReason.LENGTH) or len(tokens) > question.max_tokens:
            raise RuntimeError(f"the engine ended by {finish_reason!r} after {len(tokens)} tokens")
        return _Answer(tuple(tokens), finish_reason.value, start, datetime.now(UTC))

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
        return _account(trace)

    def _trace(self, question: Question, answer: _Answer, lease: str) -> Trace:
        price = self._terms.prices.of(question.model)
        return Trace(
            response=question.response,
            base=self._terms.base,
            base_sha256=self._terms.base_sha256,
            adapter="" if question.model == BASE else question.model,
            prompt_token_ids=question.prompt,
            completion_token_ids=answer.tokens,
            sampling=question.sampling,
            finish_reason=answer.finish_reason,
            payer=question.payer,
            lease=lease,
            fee=price.fee(len(question.prompt), len(answer.tokens)),
            platform_fee=price.platform_fee,
            start_time=time_text(answer.start),
            end_time=time_text(answer.end),
            engine=self._engine.description,
            context=question.context,
        )


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
