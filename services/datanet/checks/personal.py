"""Personal data in a record: what has a form (`patterns.py`) and names (`names.py`), and the record without it.

Found is what those two find, and no more: a text in which nothing is found may say a great deal about somebody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.datanet.checks import names, patterns
from services.datanet.checks.mask import masked
from services.datanet.checks.span import Span, described, merged, texts
from services.datanet.draft import Draft
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Finding

KINDS: Mapping[str, str] = patterns.NAMES | names.NAMES
_ADVICE = {
    PersonalData.MASK: "sign and send the fields as suggested, and take it out of the source where it is named",
    PersonalData.ASK: "say whether the record is taken as it is, or as suggested, or not (ConfirmRecord)",
    PersonalData.REFUSE: "this datanet takes none: take it out",
}


class Personal:
    """A check.  Does not apply where the policy has personal data not looked for."""

    id = "personal_data"

    def look(self, draft: Draft, policy: Policy) -> Finding | None:
        """Names kinds and fields; the suggestion is the fields with what was found masked, where such are taken."""
        if policy.personal_data is PersonalData.IGNORE:
            return None
        found = {place: spans for place, text in texts(draft).items() if (spans := find(text))}
        if not found:
            return Finding(self.id, passed=True)
        message = f"it seems to hold personal data ({described(found, KINDS)}): {_ADVICE[policy.personal_data]}"
        suggestion = None if policy.personal_data is PersonalData.REFUSE else masked(draft.fields, found)
        return Finding(self.id, passed=False, reason="PERSONAL_DATA", message=message, suggestion=suggestion)


def find(text: str) -> Sequence[Span]:
    """In order, and none over another."""
    return merged([*patterns.find(text), *names.find(text)])
