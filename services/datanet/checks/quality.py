"""Whether a text is one: rules that web corpora are cleaned by, as far as they hold for records.

Rules and numbers of

- Gopher: Rae et al., Scaling Language Models (2021), appendix A.1, tables A1 and A2;
- C4: Raffel et al., Exploring the Limits of Transfer Learning (2020), section 2.2;
- FineWeb: Penedo et al., The FineWeb Datasets (2024), section 3.5;

and some of our own, marked so.  Records are not web pages: a definition is short, and says it all.  So the web's
smallest page (Gopher: 50 words) is no bound here but the length from which the web's rules on form and repetition hold.

What repeats itself, or is no text, is refused.  What is only unlike prose (tables, code, lists, verse) is noted and not
refused: such records are what some datanets are made of.  Left out are C4's and Gopher's rules on English (stop
words, "javascript", curly brackets, bad words) and the web's on menus.  Says nothing of whether a text is true, or of
use.  Texts written without blanks count as short.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from services.datanet.draft import Draft
from services.datanet.model import Policy
from services.datanet.screen import Finding

LONG = 50
"""Words from which a text is judged as a page (Gopher)."""
LONGER = 100
"""From which repeated phrases count: honest definitions of fewer words name their thing as often (34 of the HPO's)."""
_BULLETS = tuple("\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013-*")
_OVERRIDES = re.compile("[\u202d\u202e]")
_DIRECTIONS = re.compile("[\u202a-\u202c\u2066-\u2069]")


class Text:
    """A text and what rules count of it.  Words stand between blanks, as for Gopher; lines are those not blank."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words: Sequence[str] = text.split()

    @cached_property
    def lines(self) -> list[str]:
        """Stripped."""
        return [line for line in map(str.strip, self.text.splitlines()) if line]

    @cached_property
    def size(self) -> int:
        """Characters of all words."""
        return sum(map(len, self.words))


@dataclass(frozen=True)
class Rule:
    """`breaks` says whether a text does.  `refuses`: else it is noted.  `least`: words from which on it holds."""

    id: str
    wrong: str
    breaks: Callable[[Text], bool]
    least: int = 0
    refuses: bool = True


class Quality:
    """A check."""

    id = "quality"

    def look(self, draft: Draft, policy: Policy) -> Finding:
        """Names the rule that the text breaks, one that refuses first."""
        broken = broken_rule("\n".join(text for text in draft.fields.values() if text))
        if broken is None:
            return Finding(self.id, passed=True)
        if broken.refuses:
            message = f"{broken.wrong} (rule {broken.id}): send a text that says something of its own"
            return Finding(self.id, passed=False, reason="LOW_QUALITY", message=message, value=broken.id)
        message = f"noted: {broken.wrong} (rule {broken.id})"
        return Finding(self.id, passed=True, message=message, value=broken.id)


def broken_rule(text: str) -> Rule | None:
    """The first rule that a text breaks: of those that refuse, else of those that note; `None` where it keeps all."""
    judged = Text(text)
    held = (rule for rule in RULES if len(judged.words) >= rule.least)
    return next((rule for rule in held if rule.breaks(judged)), None)


def _lorem_ipsum(text: Text) -> bool:
    """C4: any page with that phrase."""
    return "lorem ipsum" in text.text.casefold()


def _overrides(text: Text) -> bool:
    """Ours: a sign that turns letters round whatever their script (U+202D, U+202E): one text shows as another."""
    return not text.text.isascii() and _OVERRIDES.search(text.text) is not None


def _directions(text: Text) -> bool:
    """Ours: other signs of direction, which texts of two scripts have for good reasons, and disguises for bad ones."""
    return not text.text.isascii() and _DIRECTIONS.search(text.text) is not None


def _broken_characters(text: Text) -> bool:
    """Ours: more than 1 in 100 characters could not be decoded where the text comes from."""
    return text.text.count("\ufffd") * 100 > len(text.text)


def _one_character(text: Text) -> bool:
    """Ours: more than half of ten characters or more are the same one."""
    return text.size >= 10 and 2 * Counter("".join(text.words)).most_common(1)[0][1] > text.size


def _one_word(text: Text) -> bool:
    """Ours: more than half of eight words or more are the same one."""
    return len(text.words) >= 8 and 2 * Counter(text.words).most_common(1)[0][1] > len(text.words)


def _repeated_lines(text: Text) -> bool:
    """Gopher: more than 30 % of lines stood before; FineWeb: they hold 10 % of the characters or more.

    Ours: of lines with four words; shorter ones are brackets and returns of code, and refrains.
    """
    lines = [line for line in text.lines if len(line.split()) >= 4]
    again = list(_repeats(lines))
    return 10 * len(again) > 3 * len(lines) or 10 * sum(map(len, again)) >= max(sum(map(len, text.lines)), 1)


def _frequent_phrases(text: Text) -> bool:
    """Gopher: the commonest 2, 3, 4 words in a row hold more than 20, 18, 16 % of the characters."""
    for n, percent in ((2, 20), (3, 18), (4, 16)):
        phrase, count = Counter(_phrases(text.words, n)).most_common(1)[0]
        if count > 1 and 100 * count * sum(map(len, phrase)) > percent * text.size:
            return True
    return False


def _repeated_phrases(text: Text) -> bool:
    """Gopher: words in runs of 5 to 10 that stood before hold more than 15 to 10 % of the characters.

    Each character counts once, however many of the runs cover it.
    """
    for n, percent in ((5, 15), (6, 14), (7, 13), (8, 12), (9, 11), (10, 10)):
        covered = _covered(text.words, n)
        if not covered:
            return False  # what is repeated in longer runs is repeated in these
        if 100 * sum(len(text.words[place]) for place in covered) > percent * text.size:
            return True
    return False


def _few_letters(text: Text) -> bool:
    """Gopher: fewer than 80 % of words have a letter."""
    return 10 * sum(any(map(str.isalpha, word)) for word in text.words) < 8 * len(text.words)


def _word_length(text: Text) -> bool:
    """Gopher: the mean word has fewer than 3 or more than 10 characters."""
    return not 3 * len(text.words) <= text.size <= 10 * len(text.words)


def _symbols(text: Text) -> bool:
    """Gopher: more than one # or ellipsis for ten words."""
    found = text.text.count("#") + text.text.count("...") + text.text.count("\u2026")
    return 10 * found > len(text.words)


def _bullets(text: Text) -> bool:
    """Gopher: more than 90 % of lines begin with a bullet."""
    return 10 * sum(line.startswith(_BULLETS) for line in text.lines) > 9 * len(text.lines)


def _ellipses(text: Text) -> bool:
    """Gopher: more than 30 % of lines end with an ellipsis."""
    return 10 * sum(line.endswith(("...", "\u2026")) for line in text.lines) > 3 * len(text.lines)


def _phrases(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _repeats(items: Sequence[str]) -> Iterator[str]:
    seen: set[str] = set()
    for item in items:
        if item in seen:
            yield item
        seen.add(item)


def _covered(words: Sequence[str], n: int) -> set[int]:
    """Places of the words in runs of `n` that stood before."""
    seen: set[tuple[str, ...]] = set()
    places: set[int] = set()
    for start, phrase in enumerate(_phrases(words, n)):
        if phrase in seen:
            places.update(range(start, start + n))
        seen.add(phrase)
    return places


RULES = (
    Rule("lorem_ipsum", "it holds a printer's filler text", _lorem_ipsum),
    Rule("overrides", "it has signs that show it in another order than it stands", _overrides),
    Rule("broken_characters", "many of its characters were lost where it was decoded", _broken_characters),
    Rule("one_character", "most of it is one character", _one_character),
    Rule("one_word", "most of it is one word", _one_word),
    Rule("repeated_lines", "it repeats its lines", _repeated_lines, least=LONGER),
    Rule("frequent_phrases", "much of it is one phrase", _frequent_phrases, least=LONGER),
    Rule("repeated_phrases", "it repeats its phrases", _repeated_phrases, least=LONGER),
    Rule("directions", "it has signs that can show it in another order than it stands", _directions, refuses=False),
    Rule("few_letters", "many of its words have no letter", _few_letters, least=LONG, refuses=False),
    Rule("word_length", "its words are unusually short or long", _word_length, least=LONG, refuses=False),
    Rule("symbols", "it has many signs for its words", _symbols, least=LONG, refuses=False),
    Rule("bullets", "nearly all of it is a list", _bullets, least=LONG, refuses=False),
    Rule("ellipses", "many of its lines break off", _ellipses, least=LONG, refuses=False),
)
"""In this order, those that refuse first."""
