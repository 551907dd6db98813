"""A snapshot's card: README.md as dataset hubs and the `datasets` library read it, YAML first, Markdown after it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from openledger.snapshots.documents import Manifest

# The hub's licence ids that are SPDX ids in lower case and that data often have; others are "other" there.
_HUB = re.compile(
    r"apache-2\.0|cc-by(-nc)?(-sa|-nd)?-[34]\.0|cc0-1\.0|cdla-(permissive|sharing)-1\.0|gpl-[23]\.0|mit|odbl|pddl"
)
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))

_ROOT = (
    "RFC 6962 root over the records' salted commitments: `{root}`. It is on chain once the snapshot is anchored. "
    "`openledger verify snapshot` computes it again."
)


def write(about: Manifest, data_files: str = "") -> bytes:
    """The card.  data_files: where in its folder the texts are that `datasets` loads; empty where there are none."""
    head: dict[str, Any] = {
        "pretty_name": about.display_name,
        **_licence(about.licence),
        "tags": [*about.tags, "openledger"],
        "size_categories": [_size(about.record_count)],
    }
    if data_files:
        head["configs"] = [{"config_name": "default", "data_files": [{"split": "train", "path": data_files}]}]
    # JSON is YAML, and quotes whatever people write.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items()]
    return "\n".join(["---", *lines, "---", "", *_body(about, texts=bool(data_files))]).encode()


def _what(about: Manifest) -> str:
    return (
        f"`{about.snapshot}`, frozen {about.time.isoformat(' ', 'seconds')}: {about.record_count} records of "
        f"{about.contributor_count} contributors, under {about.licence}."
    )


def _body(about: Manifest, *, texts: bool) -> list[str]:
    notice = ["", about.licence_notice] if about.licence_notice else []
    where = (
        "The records' texts are in `data/`; what was published of the snapshot is in `snapshot/`."
        if texts
        else "No record's text is here: what records say is for those whom their datanet shows it."
    )
    return [
        f"# {about.display_name}",
        "",
        *([about.description, ""] if about.description else []),
        _what(about),
        *notice,
        "",
        where,
        "",
        _ROOT.format(root=about.root),
        "",
    ]


def _licence(expression: str) -> Mapping[str, str]:
    if _HUB.fullmatch(expression.lower()):
        return {"license": expression.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", expression.lower()).strip("-")}


def _size(count: int) -> str:
    return next((name for most, name in _SIZES if count < most), "n>10M")
