"""What a text may hold, wherever it comes from."""

from __future__ import annotations

import re

# C0 without tab, newline and carriage return; DEL; C1.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def control_character(text: str) -> str | None:
    """The first control character in a text, as U+XXXX; `None` when there is none."""
    found = _CONTROL.search(text)
    return f"U+{ord(found[0]):04X}" if found else None
