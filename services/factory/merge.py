"""One file of records out of those of several snapshots, every record once.

A record is the same in two versions of a datanet, and then named the same; what differs under one name is refused, as
names are not covered by a snapshot's root.  Does not know which snapshots these are, nor what the records say.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from openledger.artifacts import ArtifactStore
from services.factory.model import JobFailed

MERGING = ".merging-"
"""How a file begins that is not whole yet."""


def merge(kept: ArtifactStore, digests: Sequence[str]) -> str:
    """The digest in `kept` of all these files' records, in the given order.

    Raises `JobFailed` RECORDS_DISAGREE, `ArtifactError`, `OSError`.
    """
    distinct = list(dict.fromkeys(digests))
    if len(distinct) == 1:
        return distinct[0]
    seen: dict[str, bytes] = {}
    with tempfile.NamedTemporaryFile(dir=kept.root, prefix=MERGING) as file:
        for digest in distinct:
            for line in kept.get(digest).splitlines(keepends=True):
                name, content = json.loads(line)["record"], hashlib.sha256(line).digest()
                if name not in seen:
                    file.write(line)
                elif seen[name] != content:
                    raise JobFailed("RECORDS_DISAGREE", f"{name} is not the same record in two of the snapshots")
                seen[name] = content
        file.flush()
        return kept.put_file(Path(file.name))
