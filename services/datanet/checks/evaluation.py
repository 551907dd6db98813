"""Whether a record holds what models are tested with: words in a row that are also in a registered evaluation set.

Thirteen words, as since Brown et al., Language Models are Few-Shot Learners (2020), appendix C; a text of fewer
words, and of eight at least, is compared as a whole.  Case and punctuation make no difference
(`openledger.clusters.words`).

What is kept of an evaluation set is a keyed hash of each such run: it answers whether a text overlaps, and neither
set nor record can be read out of it.  A short item of a set inside a longer record is not found, nor a paraphrase.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet

from openledger import clusters
from services.datanet.draft import Draft
from services.datanet.model import Policy
from services.datanet.screen import Finding

WORDS = 13
"""In a row, that two texts have in common where one has the other's content."""

Token = Callable[[bytes], bytes]
"""A keyed hash."""
Known = Callable[[Collection[bytes]], AbstractSet[bytes]]
"""Which of these are in an evaluation set that counts for the datanet."""


class Evaluation:
    """A check."""

    id = "evaluation"

    def __init__(self, token: Token, known: Known) -> None:
        self._token, self._known = token, known

    def look(self, draft: Draft, policy: Policy) -> Finding:
        """Says in how many places, and does not name the set's item."""
        tokens = overlap_tokens(draft.fields, self._token)
        found = len(self._known(tokens)) if tokens else 0
        if not found:
            return Finding(self.id, passed=True)
        message = (
            f"it has {WORDS} words in a row, in {found} places, that a registered evaluation set has: what models are "
            "tested with may not be learnt"
        )
        return Finding(self.id, passed=False, reason="IN_EVALUATION_SET", message=message)


def overlap_tokens(fields: Mapping[str, str], token: Token) -> frozenset[bytes]:
    """Keyed hashes of all runs of `WORDS` words of each text; of an item of an evaluation set, what is registered."""
    return frozenset(token(run.encode()) for text in fields.values() for run in runs(text))


def runs(text: str) -> frozenset[str]:
    """All `WORDS` words in a row, each as one string; the whole of a shorter text; none of one that is too short."""
    words = clusters.words(text)
    if len(words) < clusters.FEWEST_WORDS:
        return frozenset()
    last = max(len(words) - WORDS, 0)
    return frozenset("\0".join(words[start : start + WORDS]) for start in range(last + 1))
