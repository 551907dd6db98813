"""The language of a record, and whether its datanet takes it.

py3langid's naive Bayes over bytes knows 139 languages, its model inside the package.  Of a short text it is unsure:
then the language stays undetermined, and on that alone nothing is refused.  What cannot be told by letters and words
is not judged: dialects, mixed languages, and regions (a policy's `pt-BR` takes all Portuguese).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from services.datanet.draft import Draft
from services.datanet.model import Policy
from services.datanet.screen import LANGUAGE_CHECK, UNDETERMINED, Finding

SURE = 0.8
"""Probability from which py3langid's answer counts.  It is then sure of 72 % of 8,294 sentences of 20 languages
(chatterbot-corpus), and wrong in one, not counting English ones that stand among those of other languages."""
FEWEST_LETTERS = 20
"""Of a text that is judged: below that, names and terms look like any language."""
_MOST_CHARACTERS = 4000
"""Of a text that are read; its language does not change after so many."""

_NO_LANGUAGE = "zxx"
"""What py3langid calls a text that is none, such as a table of numbers."""
_GROUPS = {
    "ar": "ary arz",
    "he": "iw",
    "id": "in ms",
    "no": "nb nn",
    "sh": "bs hr sr",
    "tl": "fil",
    "zh": "cmn wuu yue",
}
_SAME = {member: group for group, members in _GROUPS.items() for member in members.split()}
"""Tags that are taken for one another: a language and its group, ones that read nearly the same, old and new."""


class Language:
    """A check."""

    id = LANGUAGE_CHECK

    def look(self, draft: Draft, policy: Policy) -> Finding:
        """The language, as the finding's value; does not pass where it is surely none of the policy's."""
        found = language(" \n".join(draft.fields.values()))
        taken = {primary(tag) for tag in policy.languages}
        if not taken or found == UNDETERMINED or primary(found) in taken or taken - known():
            return Finding(self.id, passed=True, value=found)
        listed = ", ".join(policy.languages)[:100]
        message = f"the text reads as {found!r}, and this datanet takes {listed}: give it to another, or translate it"
        return Finding(self.id, passed=False, reason="LANGUAGE_NOT_TAKEN", message=message, value=found)


def language(text: str) -> str:
    """The ISO 639 code of a text's language, "und" where that is not sure."""
    text = text[:_MOST_CHARACTERS]
    if sum(map(str.isalpha, text)) < FEWEST_LETTERS:
        return UNDETERMINED
    found, probability = _identifier().classify(text)
    return str(found) if probability >= SURE and found != _NO_LANGUAGE else UNDETERMINED


@cache
def known() -> frozenset[str]:
    """Those that can be told; a policy that takes another refuses nothing, since texts in it read as one of these."""
    return frozenset(map(primary, _identifier().labels)) - {_NO_LANGUAGE}


def primary(tag: str) -> str:
    """What tags are compared by: of `pt-BR` "pt", of `nb` "no"."""
    first = tag.partition("-")[0].casefold()
    return _SAME.get(first, first)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
