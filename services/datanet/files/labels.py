"""A file's name as it may be shown.  It is never used as a path, and only decides between kinds of text."""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 120
_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL"})
"""Alphabets with letters that look like another one's."""


def shown(name: str) -> str:
    """Without folders, control characters and invisible marks, also those that turn the direction; 120 characters."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in unicodedata.normalize("NFC", last) if unicodedata.category(c)[0] != "C")
    kept = " ".join(kept.split()).lstrip(".")
    if len(kept) > _LONGEST:
        stem, dot, end = kept.rpartition(".")
        end = dot + end if stem and len(end) < 10 else ""
        kept = kept[: _LONGEST - len(end) - 1] + "…" + end
    return kept or "unnamed"


def extension(name: str) -> str:
    """Of a name that is shown, in lower case without its dot; empty when there is none."""
    stem, dot, end = name.rpartition(".")
    return end.lower() if stem and dot else ""


def misleads(name: str) -> str:
    """How a name pretends to be another one, in words; empty when it does not."""
    for c in name:
        if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn"}:
            return f"it has the invisible character U+{ord(c):04X}"
    for word in re.findall(r"[^\W\d_]+", name):
        scripts = {unicodedata.name(c, "").split(" ")[0] for c in word} & _ALIKE
        if len(scripts) > 1:
            return f"it mixes {' and '.join(sorted(s.title() for s in scripts))} letters in one word"
    return ""
