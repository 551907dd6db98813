"""A text as it is seen, before texts are compared: what shows nothing is not there, and what shows as a blank is one.

What shows nothing are Unicode's Default_Ignorable_Code_Points (version 16) and format characters (category Cf); both
lists are written out here, since Python's tables change with its version and money depends on them.  Hangul fillers are
among the first, and are shown as blanks; so are the empty braille cell and the empty note, which are not.

`VERSION` is of the whole form in which texts are compared (`records.comparable`, `clusters.words`): whoever compares
what was compared before says by which.  In version 1 characters of the category Cf alone were left out, as Python's
tables have them, and an underscore joined words.
"""

from __future__ import annotations

import re
import unicodedata

VERSION = 2

_BLANK = re.compile("[\u115f\u1160\u2800\u3164\uffa0\U0001d159]")
_NOTHING = re.compile(
    "[\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def visible(text: str, version: int = VERSION) -> str:
    """Raises `ValueError` for a version that is not known."""
    if version not in (1, VERSION):
        raise ValueError(f"texts are compared by version {version}, known here are 1 and {VERSION}")
    if text.isascii():
        return text
    if version == 1:
        return "".join(c for c in text if unicodedata.category(c) != "Cf")
    return _NOTHING.sub("", _BLANK.sub(" ", text))
