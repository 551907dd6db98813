"""What attackers write: edits of others' texts, rule-based paraphrases, noise, outliers, boilerplate.

Deterministic in the seed.  Knows no contributors.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

from bench.lds.domains import Text

SYNONYMS = {
    "abnormal": "atypical",
    "abnormality": "anomaly",
    "absence": "lack",
    "absent": "missing",
    "affecting": "involving",
    "also": "likewise",
    "because": "since",
    "characterized": "marked",
    "decreased": "reduced",
    "defect": "flaw",
    "due": "owing",
    "elevated": "raised",
    "enlarged": "widened",
    "frequently": "often",
    "function": "working",
    "increased": "raised",
    "individual": "person",
    "large": "big",
    "located": "situated",
    "normal": "usual",
    "normally": "usually",
    "part": "portion",
    "presence": "existence",
    "reduced": "lowered",
    "refers": "relates",
    "region": "area",
    "returns": "gives back",
    "severe": "grave",
    "several": "many",
    "small": "little",
    "type": "kind",
    "typically": "as a rule",
    "used": "employed",
    "usually": "mostly",
}


def edited(text: str, share: float, words: Sequence[str], seed: int) -> str:
    """A copy in which so many of the words are others, drawn from `words`."""
    draw, found = random.Random(f"{seed} {text}"), text.split()
    for place in draw.sample(range(len(found)), round(share * len(found))):
        found[place] = draw.choice(words)
    return " ".join(found)


def paraphrased(text: str) -> str:
    """Clauses at commas, semicolons and brackets in the opposite order, and synonyms of the commonest words."""
    clauses = [clause.strip() for clause in re.split(r"[,;()]+", text.rstrip(".")) if clause.strip()]
    turned = ", ".join(reversed(clauses))
    return re.sub(r"[A-Za-z]+", lambda word: SYNONYMS.get(word[0].lower(), word[0]), turned) + "."


def words_of(texts: Sequence[Text]) -> list[str]:
    """All words, as often as they occur."""
    return [word for text in texts for word in text.text.split()]


def noise(words: Sequence[str], length: int, seed: int) -> Text:
    """Words in no order."""
    draw = random.Random(f"noise {seed}")
    return Text(" ".join(draw.choices(words, k=3)), " ".join(draw.choices(words, k=length)))


def gibberish(length: int, seed: int) -> Text:
    """Letters and signs in no order, which a tokenizer takes for rare tokens."""
    draw = random.Random(f"gibberish {seed}")
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789#$%&@^~" + "".join(map(chr, range(0xC0, 0x180)))
    return Text("".join(draw.choices(alphabet, k=8)), "".join(draw.choices(alphabet, k=length)))


def boilerplate(texts: Sequence[str], count: int, seed: int) -> list[Text]:
    """Texts out of the commonest four words in a row of many texts: like every answer a little, about nothing."""
    grams = Counter(gram for text in texts for gram in set(zip(*(text.split()[k:] for k in range(4)), strict=False)))
    common = [" ".join(gram) for gram, _ in sorted(grams.items(), key=lambda found: (-found[1], found[0]))[:40]]
    draw = random.Random(f"boilerplate {seed}")
    return [Text(f"item {number}", " ".join(draw.sample(common, 5)) + ".") for number in range(count)]
