"""How far a fine-tune is, in words and numbers, and the two ways in which it can end early.

Time left is estimated from the work done so far, in units of one decoder layer applied to one token. This module does
not know what the work is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One event."""

    phase: str
    """loading, preparing, training, evaluating or writing."""
    step: int
    """Training steps done."""
    steps: int
    loss: float | None = None
    """Mean over the last batch, in nats per token."""
    tokens_per_second: float | None = None
    """Of training so far."""
    seconds_left: float | None = None
    """Until everything is done."""
    tokens: int | None = None
    """Trained so far."""
    valid_loss: float | None = None
    """Of the held-out records, where they were measured after this step."""
    valid_mean_token_accuracy: float | None = None


class Cancelled(Exception):
    """The caller asked to stop. Nothing was written."""


class TrainingError(ValueError):
    """Training cannot start, or cannot go on; the message says why and what to do."""


class Diverged(TrainingError):
    """The loss, or a weight, is no longer a finite number."""


class Reporter:
    """Tells a caller about progress, and asks it whether to stop."""

    def __init__(
        self, total: float, steps: int, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> None:
        """total: the work ahead, in layer-tokens."""
        self._total, self._steps = total, steps
        self._on_progress, self._should_stop = on_progress, should_stop
        self._done = 0.0
        self._step, self._tokens = 0, 0
        self._before = 0
        self._loss: float | None = None
        self._start = time.monotonic()
        self._training_start = self._start

    def report(self, phase: str, work: float = 0.0, valid: tuple[float, float] | None = None) -> None:
        """Some work of a phase is done; valid: held-out loss and accuracy, if just measured. Raises Cancelled."""
        if self._should_stop():
            raise Cancelled
        self._done += work
        now = time.monotonic()
        left = (now - self._start) * max(self._total / self._done - 1, 0.0) if self._done else None
        trained = self._tokens - self._before
        speed = trained / (now - self._training_start) if trained else None
        so_far = (self._step, self._steps, self._loss, speed, left, self._tokens or None)
        self._on_progress(Progress(phase, *so_far, *(valid or ())))

    def training_starts(self) -> None:
        self._training_start = time.monotonic()

    def resumed(self, step: int, work: float, tokens: int = 0) -> None:
        """So many steps, on so many tokens, were done before a crash: their work is no longer ahead."""
        self._step, self._total = step, self._total - work
        self._tokens = self._before = tokens

    def trained(self, loss: float | None, tokens: int, work: float) -> None:
        """One step is done; None: it had no record. Raises Cancelled."""
        self._step, self._tokens, self._loss = self._step + 1, self._tokens + tokens, loss
        self.report("training", work)
