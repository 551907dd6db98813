"""Sketches of a finished run's records: 4 KB of what each would still teach (``openledger.influence.record_sketches``).

A few records are taken at a time, so that memory does not grow with their number. Finished rows go to a file at once:
a worker that is killed goes on behind them, and ends with the same bytes. This module does not know who may see what.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openledger.influence.decoder import Decoder
from openledger.influence.drill_down import DEFAULT, SCORERS
from openledger.influence.lora import Adapter, attached
from openledger.influence.metric import Metric
from openledger.influence.parameters import sizes
from openledger.influence.per_example import PerExampleGradients
from openledger.influence.record_sketches import Header, Rows, encode
from openledger.influence.sketch import BITS, Signs
from services.factory.data import Example
from services.factory.passes import Trunk, gradients

KIND = SCORERS[DEFAULT].kind
"""Of the scorer that agrees best with retraining."""
GROUP_BYTES, PER_WEIGHT = 2**28, 32
"""Of a group's gradients: so much memory, of which a weight of one record takes a float32 and at most three float64."""
BLOCK = 1024
"""Rows in memory while the file is written: 4 MB."""
ROW = np.dtype([("signs", "u1", BITS // 8), ("norm", "<f4"), ("scale", "<f4")])


@dataclass(frozen=True, eq=False)
class End:
    """Of a run. training: what it was trained on, in its order; a canary's contributor is ""."""

    decoder: Decoder
    adapter: Adapter
    second_moment: npt.NDArray[np.float32]
    training: Sequence[Example]
    below: Path | None = None
    """The trunk's activations for them, if they were kept."""


def write(
    file: Path, end: End, seed: str, scratch: Path, on_records: Callable[[int, int], None], kind: str = KIND
) -> None:
    """Write the sketches of all records but canaries; a record's leaf is its place in the training.

    seed: of the projection. scratch: a file that a killed attempt's rows are found in. on_records: told how many
    records are done, of how many. kind: of the metric; not "less", which needs a first moment. Raises SketchError for
    a gradient that is not finite, OSError without room.
    """
    order = sorted((e.contributor, place) for place, e in enumerate(end.training) if e.contributor)
    places = [place for _, place in order]
    people = Counter(contributor for contributor, _ in order)
    header = Header(seed, BITS, kind, end.adapter.parameters, tuple(sorted(people.items())))
    metric = Metric.of(kind, end.second_moment, sizes(end.adapter.parameters))
    _sketch(end, header, metric, places, scratch, on_records)
    with file.open("wb") as out:
        out.writelines(encode(header, metric, _blocks(scratch, places)))


def _sketch(
    end: End,
    header: Header,
    metric: Metric,
    places: Sequence[int],
    scratch: Path,
    on_records: Callable[[int, int], None],
) -> None:
    """Append the rows that are not in ``scratch`` yet, in the order of ``places``."""
    size = max(1, GROUP_BYTES // (PER_WEIGHT * header.projection.size))
    layers = min(end.adapter.config.layers)
    with scratch.open("ab") as out, attached(end.decoder.model, end.adapter) as maps, PerExampleGradients(maps) as taps:
        done = _resumed(out.tell(), size)
        out.truncate(done * ROW.itemsize)
        for start in range(done, len(places), size):
            on_records(start, len(places))
            group = places[start : start + size]
            examples = [end.training[place] for place in group]
            trunk = Trunk(end.decoder, layers)
            if end.below is None:
                trunk.prepare(examples, "float32", lambda _: None)
            else:
                trunk.load(end.below, examples)
            rows = Rows.of(header, metric, group, gradients(trunk, taps, examples).numpy())
            out.write(_packed(rows))
            out.flush()
            os.fsync(out.fileno())
    on_records(len(places), len(places))


def _resumed(found: int, size: int) -> int:
    """Rows that can be relied on, of so many bytes, written in groups: the last one may not have reached the disk."""
    return max(0, -(-(found // ROW.itemsize) // size) - 1) * size


def _packed(rows: Rows) -> bytes:
    packed = np.empty(len(rows.leaves), dtype=ROW)
    packed["signs"], packed["norm"], packed["scale"] = rows.signs.signs, rows.norms, rows.signs.scales
    return packed.tobytes()


def _blocks(scratch: Path, places: Sequence[int]) -> Iterator[Rows]:
    packed = np.memmap(scratch, dtype=ROW, mode="r")
    for start in range(0, len(places), BLOCK):
        some = packed[start : start + BLOCK]
        leaves = np.array(places[start : start + BLOCK], dtype=np.uint64)
        yield Rows(leaves, np.array(some["norm"]), Signs(np.array(some["signs"]), np.array(some["scale"])))
