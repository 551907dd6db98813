"""Snapshots out of folders that `openledger datanet export` wrote, for whoever has no Datanet to ask.

A record whose text is not in the folder is given as one that is erased: by its commitment alone.  Believes of a folder
what follows from its snapshot's root; whether that root is the right one is for whoever reads it to say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from openledger import records
from openledger.snapshots import EXPORTED, META, folder, given
from openledger.snapshots.documents import RECORDS
from openledger.snapshots.files import Row, read_rows
from services.factory.source import SourceRecord


class ExportSource:
    """See `RecordSource`."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Raises `OSError`, and `ValueError` that names the folder that is no export, or contradicts its snapshot."""
        self._places: dict[str, Path] = {}
        for place in folders:
            try:
                _, entry = folder.check(place / EXPORTED)
            except (ValueError, FileNotFoundError) as error:
                raise ValueError(f"{place} is no export of a snapshot: {error}") from error
            self._places[entry.snapshot] = place

    @property
    def names(self) -> frozenset[str]:
        """Of the snapshots."""
        return frozenset(self._places)

    def there(self, name: str) -> frozenset[str]:
        """Names of a snapshot's records whose texts are there.  Raises `ValueError`, `OSError`."""
        return frozenset(record.name for record in self._records(name) if record.salt)

    def rows(self, name: str) -> Iterator[Row]:
        """All of a snapshot's records, as anybody may see them.  Raises `ValueError`, `OSError`."""
        return read_rows(self._places[name] / EXPORTED / RECORDS)

    async def records(self, name: str, start: int) -> AsyncIterator[SourceRecord]:
        """See `RecordSource.records`."""
        for record in self._records(name):
            if record.leaf >= start:
                yield record

    def _records(self, name: str) -> Iterator[SourceRecord]:
        """Raises `ValueError` for a text that is not what was committed to at its leaf."""
        texts = self._texts(name)
        following = next(texts, None)
        for row in self.rows(name):
            about, fields = following if following is not None else ({}, {})
            if about.get("leaf") != row.leaf:
                yield SourceRecord(row.leaf, row.record, row.contributor, {}, "", b"", bytes.fromhex(row.commitment))
                continue
            yield _checked(row, about, fields)
            following = next(texts, None)
        if following is not None:
            raise ValueError(f"the text of {following[0].get('record')} stands at no leaf that follows the one before")

    def _texts(self, name: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """What is said of each record whose text is there, in the order of leaves, and its fields."""
        place = given.find(self._places[name])
        for item in given.items(place):
            about = item.get(META) if isinstance(item, dict) else None
            if not isinstance(about, dict) or not about.get("salt"):
                raise ValueError(f"{place} has no salts, by which texts are known: export as parquet or jsonl")
            yield about, {field: text for field, text in item.items() if field != META and text is not None}


def _checked(row: Row, about: Mapping[str, Any], fields: Mapping[str, Any]) -> SourceRecord:
    """With its text; its name and whose it is are as published."""
    source, commitment = str(about.get("source", "")), bytes.fromhex(row.commitment)
    salt = bytes.fromhex(str(about["salt"]))
    if records.commitment(salt, records.canonical_bytes(row.contributor, fields, source)) != commitment:
        raise ValueError(f"the text of {row.record} is not what was committed to")
    return SourceRecord(row.leaf, row.record, row.contributor, fields, source, salt, commitment)
