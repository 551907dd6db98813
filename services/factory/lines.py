"""Records as a file: one line of canonical JSON each, in the order of the snapshot's leaves.

Written by the service, read by its workers.  The salts stay behind: whoever has one can prove what a text was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from openledger import canonical
from services.factory.data import Record

FOLDER = "OPENLEDGER_RECORDS_FOLDER"
"""Names the environment variable by which workers are told where the files lie."""


def line(name: str, contributor: str, fields: Mapping[str, str]) -> bytes:
    """One record.  contributor: lower-case address.  Raises `ValueError` for a text that is not Unicode."""
    return canonical.dumps({"contributor": contributor, "fields": dict(fields), "record": name}) + b"\n"


def parse(data: bytes) -> list[Record]:
    """The records of a whole file."""
    documents = (json.loads(text) for text in data.splitlines())
    return [Record(document["record"], document["contributor"], document["fields"]) for document in documents]
