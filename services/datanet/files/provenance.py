"""Whether an image says that nobody may train on it.

Read are Content Credentials (C2PA, with the assertions of CAWG 1.1 and the older ones of C2PA), the property Data
Mining of PLUS in XMP, and the words `noai` and `noimageai`.  Nothing is fetched.  Who signed, and whether the signature
holds, is not asked: when in doubt, the answer is no.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from services.datanet.files.found import Refused
from services.datanet.files.kinds import Kind

_ASSERTION = re.compile(r"(?:cawg|c2pa)\.training-mining(?:\.v\d+)?(?:__\d+)?\Z")
_ENTRY = re.compile(r"(?:cawg|c2pa)\.(ai_training|ai_generative_training)\Z")
_PLUS = re.compile(rb"DMI-PROHIBITED[A-Z-]*")
_NO_AI = re.compile(rb"(?<![a-z0-9])no-?(?:image)?-?ai(?![a-z0-9])", re.IGNORECASE)
_SETTINGS = {
    # By default the library asks the addresses that a picture names.
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": False},
    "core": {"allowed_network_hosts": []},
}


def check(data: bytes, kind: Kind, words: list[bytes]) -> None:
    """Return where nothing speaks against training.

    words: the texts of the image's metadata.  Raises `Refused`: TRAINING_FORBIDDEN, PROVENANCE_UNREADABLE.
    """
    for manifest in _manifests(data, kind):
        for assertion in manifest.get("assertions", []):
            if _ASSERTION.match(str(assertion.get("label", ""))):
                _check_entries(assertion.get("data"))
    # A word as long as PLUS's stands nowhere by chance, and may stand where no library looks.
    for said in (_PLUS.search(data), *(_PLUS.search(text) or _NO_AI.search(text) for text in words)):
        if said:
            raise _forbidden(f"its metadata says {said[0].decode()}")


def _check_entries(data: Any) -> None:
    entries = data.get("entries", {}) if isinstance(data, dict) else {}
    for name, entry in entries.items():
        use = entry.get("use") if isinstance(entry, dict) else entry
        # "constrained" forbids too, where the constraint is not known to be met (CAWG 1.1).
        if _ENTRY.match(str(name)) and use != "allowed":
            raise _forbidden(f"its content credentials say {name}: {str(use)[:40]!r}")


def _manifests(data: bytes, kind: Kind) -> Iterator[dict[str, Any]]:
    """Of the image itself, and of what it was made from."""
    from c2pa import C2paError, Context, Reader

    try:
        with Context.from_dict(_SETTINGS) as context:
            reader = Reader.try_create(kind.value, io.BytesIO(data), context=context)
            if reader is None:
                return
            with reader:
                store = json.loads(reader.json())
        manifests = list(store["manifests"].values())
    except (C2paError, ValueError, KeyError, AttributeError) as error:
        message = f"it has content credentials that cannot be read ({type(error).__name__}): they may forbid training"
        raise Refused("PROVENANCE_UNREADABLE", message) from None
    yield from manifests


def _forbidden(how: str) -> Refused:
    return Refused("TRAINING_FORBIDDEN", f"whoever made the image forbids training on it: {how}")
