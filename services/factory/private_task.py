"""The private files of one fine-tune, made in a worker of their own from the same records as the adapter.

    run by an executor as "services.factory.private_task:private_files"

A plain function of its arguments, which name every input by digest: the same arguments give the same bytes.  What is
made holds people's texts, or tells of them, so it is never among what is published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX
from openledger.artifacts import file_sha256
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter
from openledger.spans.build import Document, build
from services.factory import inputs, sketches, trunk_task, write
from services.factory.data import Example
from services.kit.executor import Report, TaskContext

PRELOAD = inputs.PRELOAD


def private_files(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Index what the adapter was trained to say, with whose it is, and sketch every record's gradient.

    arguments: the fine-tune's own, with run (its digest), salts (32 secret bytes by file, hex; that of the sketches
    seeds their projection), and kind (of the sketches' metric).
    Returns files (SHA-256 by name), no sketches where the run is of before its second moment was kept; and seconds.
    Raises SpanIndexError, SketchError, AdapterError, and what `services.factory.inputs.load` raises.
    """
    start, run, salts = time.monotonic(), context.outputs(arguments["run"]), arguments["salts"]
    with inputs.room_in(context.output.parent):
        given = inputs.load(arguments)
        training, _ = given.split()
        (context.output / SPAN_INDEX).write_bytes(_span_index(training, bytes.fromhex(salts[SPAN_INDEX])))
        if (run / write.MOMENT).exists():
            # On the base as it is, whatever the run trained on: as answers are measured.
            moment = write.second_moment(run).numpy()
            below = _trunk(given, arguments, context)
            end = sketches.End(Decoder.load(given.base), Adapter.load(run), moment, training, below)
            file, rows = context.output / RECORD_SKETCHES, context.scratch / "rows"
            sketches.write(file, end, salts[RECORD_SKETCHES], rows, _progress(context.report), arguments["kind"])
    files = {file.name: file_sha256(file) for file in sorted(context.output.iterdir())}
    return {"files": files, "seconds": time.monotonic() - start}


def _trunk(given: inputs.Inputs, arguments: dict[str, Any], context: TaskContext) -> Path | None:
    """The run's own activations, where it trained on the base as it is."""
    as_it_is = given.spec.precision == "float32" and given.spec.quantise == "none"
    return trunk_task.found(arguments, context) if as_it_is else None


def _span_index(training: Sequence[Example], salt: bytes) -> bytes:
    rows = {address: row for row, address in enumerate(sorted({e.contributor for e in training if e.contributor}))}
    return build(_documents(training, rows), owners=len(rows), salt=salt)


def _progress(report: Report) -> Callable[[int, int], None]:
    start, first = time.monotonic(), -1

    def told(done: int, total: int) -> None:
        nonlocal first
        first = done if first < 0 else first  # what a killed attempt left says nothing about this one's speed
        left = (time.monotonic() - start) / (done - first) * (total - done) if done > first else None
        report({"phase": "sketches", "step": done, "steps": total, "seconds_left": left})

    return told


def _documents(training: Sequence[Example], rows: dict[str, int]) -> Iterator[Document]:
    """What the model was trained to say, by record; a record's number is its place in `training.json`.

    Without the end-of-turn token, which nobody wrote, and without canaries, which are nobody's.
    """
    for number, example in enumerate(training):
        if example.contributor:
            yield Document(rows[example.contributor], number, example.completion[:-1])
