"""The private files of one fine-tune, made in a worker of their own from the same records as the adapter.

    run by an executor as "services.factory.private_task:span_index"

A plain function of its arguments, which name every input by digest: the same arguments give the same bytes.  What is
made holds people's texts, so it is never among what is published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from openledger.adapters import SPAN_INDEX
from openledger.artifacts import file_sha256
from openledger.spans.build import Document, build
from services.factory import inputs
from services.factory.data import Example
from services.kit.executor import TaskContext


def span_index(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Index what the adapter was trained to say, with whose it is.

    arguments: the fine-tune's own, and salt (32 secret bytes, hex).  Returns files (SHA-256 by name).
    Raises SpanIndexError, and what `services.factory.inputs.load` raises.
    """
    with inputs.room_in(context.output.parent):
        given = inputs.load(arguments)
        training, _ = given.split()
        rows = {address: row for row, address in enumerate(sorted({e.contributor for e in training if e.contributor}))}
        data = build(_documents(training, rows), owners=len(rows), salt=bytes.fromhex(arguments["salt"]))
        file = context.output / SPAN_INDEX
        file.write_bytes(data)
    return {"files": {SPAN_INDEX: file_sha256(file)}}


def _documents(training: Sequence[Example], rows: dict[str, int]) -> Iterator[Document]:
    """What the model was trained to say, by record; a record's number is its place in `training.json`.

    Without the end-of-turn token, which nobody wrote, and without canaries, which are nobody's.
    """
    for number, example in enumerate(training):
        if example.contributor:
            yield Document(rows[example.contributor], number, example.completion[:-1])
