"""A snapshot's Croissant 1.1 metadata (MLCommons): schema.org's Dataset as JSON-LD, which dataset search reads.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html.  Validated with `mlcroissant` by the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openledger.snapshots.documents import Manifest

CROISSANT, RAI = "http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"
PARQUET, JSONL = "application/x-parquet", "application/jsonlines"
_SPDX_ID = re.compile(r"[A-Za-z0-9.+-]+\Z")
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


@dataclass(frozen=True)
class Column:
    """A column of a table.  kind: schema.org's data type, such as `Text`."""

    name: str
    description: str
    kind: str = "Text"


@dataclass(frozen=True)
class Table:
    """A file with a record a row.  path: inside the folder; key: the column that tells rows apart."""

    path: str
    description: str
    sha256: str
    size: int
    columns: Sequence[Column]
    key: str = ""
    media_type: str = PARQUET


def write(about: Manifest, tables: Sequence[Table]) -> bytes:
    """The JSON-LD."""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [CROISSANT, RAI],
        "name": about.display_name,
        "description": about.description or f"Records of {about.snapshot.rpartition('/snapshots/')[0]}.",
        "url": f"urn:openledger:{about.snapshot.replace('/', ':')}",
        "version": f"{about.number}.0.0",
        "license": _licence(about.licence),
        "keywords": about.tags,
        "datePublished": about.time.isoformat(timespec="seconds"),
        "citeAs": f"{about.display_name}, {about.snapshot}, RFC 6962 root {about.root}",
        "creator": {"@type": "sc:Person", "name": f"accounts/{about.owner}"},
        "usageInfo": about.licence_notice,
        "rai:dataCollection": "Contributors gave the records under declarations that they signed.",
        "rai:dataReleaseMaintenancePlan": "A snapshot never changes; what is withdrawn or erased is in no later one.",
        "distribution": [_file(table) for table in tables],
        "recordSet": [_records(table) for table in tables],
    }
    return json.dumps({k: v for k, v in document.items() if v}, ensure_ascii=False, indent=2).encode() + b"\n"


def _licence(expression: str) -> str:
    """A URL, where it is one licence that SPDX lists."""
    listed = _SPDX_ID.match(expression) and not expression.startswith(("LicenseRef-", "DocumentRef-"))
    return f"https://spdx.org/licenses/{expression}" if listed else expression


def _file(table: Table) -> Mapping[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": table.path,
        "name": table.path,
        "description": table.description,
        "contentUrl": table.path,
        "contentSize": f"{table.size} B",
        "encodingFormat": table.media_type,
        "sha256": table.sha256,
    }


def _records(table: Table) -> Mapping[str, Any]:
    name = table.path.rpartition("/")[2].partition(".")[0]
    document: dict[str, Any] = {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": table.description,
        "field": [_field(name, table, column) for column in table.columns],
    }
    return document | ({"key": {"@id": f"{name}/{table.key}"}} if table.key else {})


def _field(records: str, table: Table, column: Column) -> Mapping[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{column.name}",
        "name": column.name,
        "description": column.description,
        "dataType": f"sc:{column.kind}",
        "source": {"fileObject": {"@id": table.path}, "extract": {"column": column.name}},
    }
