"""The files of a snapshot: Parquet of what is published of its records, and of their texts for whoever may read them.

Written piece by piece, so that memory does not grow with the snapshot.  Needs pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openledger.snapshots import META

AT_ONCE = 1_000

_ROW = pa.schema(
    [
        ("leaf", pa.int64()),
        ("record", pa.string()),
        ("contributor", pa.string()),
        ("licence", pa.string()),
        ("commitment", pa.string()),
    ]
)
_ABOUT = pa.struct([*_ROW, ("source", pa.string()), ("salt", pa.string())])


@dataclass(frozen=True)
class Row:
    """A record of a snapshot as anybody may see it.

    record: its name.  contributor: a lower-case address.  commitment: hex.  leaf: from 0.
    """

    leaf: int
    record: str
    contributor: str
    licence: str
    commitment: str


@dataclass(frozen=True)
class Text:
    """What a record says, for whoever may read it.  salt: hex; with it the commitment can be computed again."""

    row: Row
    fields: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    salt: str = ""

    def about(self) -> dict[str, Any]:
        """What stands under `META`."""
        return {**vars(self.row), "source": self.source, "salt": self.salt}


def write_rows(place: Path, rows: Iterable[Row]) -> None:
    """`records.parquet`: a row a leaf, in order."""
    _write(place, _ROW, (vars(row) for row in rows))


def read_rows(place: Path) -> Iterator[Row]:
    """Raises `ValueError` for what is no such file."""
    for row in _read(place, _ROW):
        yield Row(**row)


def read_items(place: Path) -> Iterator[dict[str, Any]]:
    """The rows of any Parquet file.  Raises `ValueError` for what is none."""
    with _decoding(place), pq.ParquetFile(place) as file:
        for piece in file.iter_batches(batch_size=AT_ONCE):
            yield from piece.to_pylist()


Add = Callable[[Sequence[Text]], object]
"""Adds texts to a file."""


@contextmanager
def _parquet(place: Path, fields: Sequence[str]) -> Iterator[Add]:
    """A column a field, null where a record has none, and the column `META`."""
    schema = pa.schema([*((name, pa.string()) for name in fields), (META, _ABOUT)])
    with pq.ParquetWriter(place, schema, compression="zstd") as writer:
        yield lambda texts: writer.write_table(
            pa.Table.from_pylist([_line(text, fields) for text in texts], schema=schema)
        )


@contextmanager
def _jsonl(place: Path, fields: Sequence[str]) -> Iterator[Add]:
    """The same, a JSON object a line."""
    with place.open("w", encoding="utf-8") as file:
        yield lambda texts: file.writelines(_json(_line(text, fields)) + "\n" for text in texts)


@contextmanager
def _argilla(place: Path, fields: Sequence[str]) -> Iterator[Add]:
    """A list of Argilla's records."""
    del fields
    with _list(place) as add:
        yield lambda texts: add({"id": t.row.record, "fields": dict(t.fields), "metadata": _said(t)} for t in texts)


@contextmanager
def _label_studio(place: Path, fields: Sequence[str]) -> Iterator[Add]:
    """A list of Label Studio's tasks."""
    del fields
    with _list(place) as add:
        yield lambda texts: add({"data": dict(t.fields), "meta": _said(t)} for t in texts)


@contextmanager
def _list(place: Path) -> Iterator[Callable[[Iterable[dict[str, Any]]], None]]:
    with place.open("w", encoding="utf-8") as file:
        before = "[\n"

        def add(items: Iterable[dict[str, Any]]) -> None:
            nonlocal before
            for item in items:
                file.write(before + _json(item))
                before = ",\n"

        yield add
        file.write("\n]\n" if before == ",\n" else "[]\n")


def _line(text: Text, fields: Sequence[str]) -> dict[str, Any]:
    return {**{name: text.fields.get(name) for name in fields}, META: text.about()}


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _said(text: Text) -> dict[str, Any]:
    """Without salt: who reviews a text needs no proof of it."""
    row = text.row
    return {"record": row.record, "contributor": row.contributor, "licence": row.licence, "source": text.source}


def _write(place: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    waiting = iter(rows)
    with pq.ParquetWriter(place, schema, compression="zstd") as writer:
        while piece := list(islice(waiting, AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(piece, schema=schema))


def _read(place: Path, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    with _decoding(place), pq.ParquetFile(place) as file:
        if not file.schema_arrow.equals(schema):
            raise ValueError(f"{place.name} has the columns {', '.join(file.schema_arrow.names)}")
        for piece in file.iter_batches(batch_size=AT_ONCE):
            yield from piece.to_pylist()


@contextmanager
def _decoding(place: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{place.name} cannot be decoded: {error}") from error


FORMATS: dict[str, tuple[str, Callable[[Path, Sequence[str]], AbstractContextManager[Add]]]] = {
    "parquet": ("train-00000-of-00001.parquet", _parquet),
    "jsonl": ("train.jsonl", _jsonl),
    "argilla": ("argilla.json", _argilla),
    "label-studio": ("label_studio.json", _label_studio),
}
"""How texts can be written: a file's name, and what opens it, for texts with these fields to be added."""
