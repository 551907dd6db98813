"""What the held-out records would lose without each contributor, as the contribution index foretells it.

The mean score of the held-out records, as a file beside the adapter: whoever is asked to leave somebody out later can
say what that will cost, also when the records are gone.  It is an estimate to first order; what training again shows
stands in the audit, where there is one.  Of a base in fewer bits it is what that base says (`FineTuneSpec.quantise`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from openledger import canonical
from openledger.influence.index import ContributionIndex
from openledger.influence.lora import attached
from services.factory.data import Example
from services.factory.passes import batch_gradient
from services.factory.training_run import TrainingRun
from services.factory.write import INDEX

FILE, VERSION = "effects.json", "openledger.effects.v1"
_DIGITS = 9


class EffectsError(ValueError):
    """The document is none."""


@dataclass(frozen=True)
class Effects:
    """rises: by address, how much the mean loss of so many held-out records would rise, in nats a token."""

    held_out: int
    rises: dict[str, float]
    version: str = VERSION

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        return canonical.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Effects:
        """Read `to_bytes` again.  Raises EffectsError."""
        try:
            document = json.loads(data)
            if document["version"] != VERSION:
                raise EffectsError(f"unknown version {document['version']!r} of effects")
            return cls(int(document["held_out"]), {str(w): float(r) for w, r in document["rises"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EffectsError(f"these are not effects: {error}") from error


def write(folder: Path, run: TrainingRun, held_out: Sequence[Example]) -> None:
    """Of whom the index in a folder has rows.  The held-out examples' activations are prepared."""
    rises: dict[str, float] = {}
    if held_out:
        with attached(run.decoder.model, run.adapter) as maps:
            weights = [linear.weight for linear in maps.values()]
            gradient = batch_gradient(run.trunk, weights, held_out, len(held_out), "float32").double().numpy()
        index = ContributionIndex.open(folder / INDEX)
        for row, who in enumerate(index.header.contributors):
            rise = -float(gradient @ index.row(row).to_float())
            if math.isfinite(rise):
                rises[who] = round(rise, _DIGITS)
    (folder / FILE).write_bytes(Effects(len(held_out), rises).to_bytes())


def join(out: Path, folders: Iterable[Path]) -> None:
    """Write those of several folders, of different contributors and the same held-out records, into one."""
    parts = [Effects.from_bytes((folder / FILE).read_bytes()) for folder in folders]
    rises = {who: rise for part in parts for who, rise in part.rises.items()}
    (out / FILE).write_bytes(Effects(parts[0].held_out, rises).to_bytes())
