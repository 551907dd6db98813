"""What the engine has handed over of an answer so far, and the trace that can be made of it at any moment.

Knows no engine, no queue and nobody who listens.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from openledger.money import Price
from openledger.trace import Trace
from openledger.trace_proto import time_text
from services.openlora.adapters import BASE
from services.openlora.engine import FinishReason
from services.openlora.question import Question

CANCELLED = "cancelled"
"""Whoever asked left; the engine's own reasons are those of `FinishReason`."""
TIME = "time"
"""The longest time that an answer may take was over."""


@dataclass(frozen=True)
class Made:
    """What every trace of a service has in common."""

    base: str
    base_sha256: str
    engine: str


@dataclass
class Draft:
    """An answer that is being generated."""

    question: Question
    start: datetime = field(default_factory=lambda: datetime.now(UTC))
    tokens: list[int] = field(default_factory=list)
    shown: int = 0
    """Characters of their text that the engine has handed over."""
    finish_reason: str = ""
    end: datetime | None = None
    salt: str = field(default_factory=lambda: secrets.token_hex(32))

    def begin(self) -> None:
        """The engine begins now."""
        self.start = datetime.now(UTC)

    def add(self, token_ids: Sequence[int], finish_reason: FinishReason | None) -> None:
        """Tokens that were handed over, and why they were the last.

        Raises `RuntimeError`, and keeps none of them, if the engine breaks its promise: they cannot be sold.
        """
        most = self.question.max_tokens
        if self.finish_reason or len(self.tokens) + len(token_ids) > most:
            raise RuntimeError(f"the engine goes on after {len(self.tokens)} of at most {most} tokens")
        if finish_reason not in (None, FinishReason.STOP, FinishReason.LENGTH):
            raise RuntimeError(f"the engine ended by {finish_reason!r} after {len(self.tokens)} tokens")
        self.tokens += token_ids
        if finish_reason is not None:
            self.close(finish_reason.value)

    def close(self, reason: str) -> None:
        """Nothing more comes.  The first reason stays: what the engine has ended nobody can cut off."""
        if not self.finish_reason:
            self.finish_reason, self.end = reason, datetime.now(UTC)

    def trace(self, made: Made, price: Price, lease: str) -> Trace:
        """The trace of what there is, charged to that lease.  Raises `RuntimeError` if it has no end."""
        question = self.question
        if self.end is None:
            raise RuntimeError(f"the engine stopped after {len(self.tokens)} tokens without a reason")
        return Trace(
            response=question.response,
            base=made.base,
            base_sha256=made.base_sha256,
            adapter="" if question.model == BASE else question.model,
            prompt_token_ids=question.prompt,
            completion_token_ids=tuple(self.tokens),
            sampling=question.sampling,
            finish_reason=self.finish_reason,
            payer=question.payer,
            lease=lease,
            fee=price.fee(len(question.prompt), len(self.tokens)),
            platform_fee=price.platform_fee,
            start_time=time_text(self.start),
            end_time=time_text(self.end),
            engine=made.engine,
            context=question.context,
            price=price,
            salt=self.salt,
            published=question.publish,
        )
