"""What a finished run says of its way: the loss of every step, and the measurements of the held-out records.

Read from the file that training leaves beside the adapter (`services.factory.write`).  It is the same for everybody who
made the same adapter, also for who only found it made.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE, VERSION = "training.json", "openledger.training.v1"


@dataclass(frozen=True)
class History:
    """In nats per token."""

    losses: tuple[float, ...]
    """Of each step, from step 1 on."""
    evaluations: tuple[tuple[int, float], ...]
    """Step, and the mean loss of the held-out records after it."""

    def train_loss(self, step: int) -> float | None:
        """Of one step; None where it left no finite number."""
        known = 1 <= step <= len(self.losses) and math.isfinite(self.losses[step - 1])
        return self.losses[step - 1] if known else None


def read(output: Path) -> History | None:
    """The history in a folder of trained files; None where there is none that can be read."""
    try:
        document = json.loads((output / FILE).read_bytes())
        if document["version"] != VERSION:
            return None
        losses = tuple(math.nan if loss is None else float(loss) for loss in document["losses"])
        evaluations = tuple((int(step), float(loss)) for step, loss in document["evaluations"])
        return History(losses, tuple(filter(_is_finite, evaluations)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_finite(evaluation: Any) -> bool:
    return math.isfinite(evaluation[1])
