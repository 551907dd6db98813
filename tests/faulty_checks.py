"""A task of workers that look at records, as `services.datanet.screening_task`, that fails as its records say."""

from __future__ import annotations

import os
import time

from services.datanet import screening
from services.datanet.screen import Finding


def work(question: bytes) -> bytes:
    """Finds the text of each record; a text "dies", "hangs", "waits", "naps", "raises", "lies" or "omits"."""
    drafts, _ = screening.asked(question)
    texts = [draft.fields["text"] for draft in drafts]
    if "dies" in texts:
        os.abort()
    while "hangs" in texts:
        pass
    if "waits" in texts:
        time.sleep(60)
    if "naps" in texts:
        time.sleep(0.1)
    if "raises" in texts:
        raise RuntimeError("as it says")
    if "lies" in texts:
        return b'[["no finding"]]'
    if "omits" in texts:
        return b"[]"
    return screening.answer([[Finding("text", passed=True, value=text)] for text in texts])
