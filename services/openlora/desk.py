"""What every part of OpenLoRA's API works with."""

from __future__ import annotations

from dataclasses import dataclass

from services.openlora.adapters import Adapters
from services.openlora.answer import Answers
from services.openlora.asking import Asking
from services.openlora.engine import Engine
from services.openlora.importing import Imports
from services.openlora.pins import Pins
from services.openlora.prices import Prices
from services.openlora.question import Limits
from services.openlora.records import Roots
from services.openlora.replay import Replays
from services.openlora.tracelog import TraceLog


@dataclass(frozen=True)
class Desk:
    """The service's parts."""

    asking: Asking
    answers: Answers
    engine: Engine
    adapters: Adapters
    traces: TraceLog
    replays: Replays
    roots: Roots
    prices: Prices
    limits: Limits
    base: str
    batch_bytes: int
    """Of one message of traces, about."""
    imports: Imports
    pins: Pins
