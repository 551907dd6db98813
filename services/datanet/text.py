"""What a text may hold, wherever it comes from."""

from __future__ import annotations

import re

# C0 without tab, newline and carriage return; DEL; C1.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Embeddings, overrides and isolates: they make a text look like another one.
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")


def control_character(text: str) -> str | None:
    """The first control character in a text, as U+XXXX; `None` when there is none."""
    return _first(_CONTROL, text)


def direction_character(text: str) -> str | None:
    """The first character that turns the direction in which a text is shown, as U+XXXX; `None` when there is none."""
    return _first(_DIRECTION, text)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return f"U+{ord(found[0]):04X}" if found else None
