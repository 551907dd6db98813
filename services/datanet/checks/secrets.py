"""What opens something: private keys, tokens and passwords, which are refused whatever a datanet's policy says.

Tokens are told by the prefixes that their issuers give them so that they can be found (the forms of gitleaks' rules,
MIT); a password or a key without one, by the word before it and by how little it looks like a word; a wallet's
recovery phrase, by BIP 39's list of words and its check bits.  Looked for are only forms of which the text has a
tell-tale part.

Does not find passwords that are words, secrets that nothing announces, and recovery phrases in other languages than
English.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

from services.datanet.checks.span import Span, described, texts
from services.datanet.draft import Draft
from services.datanet.model import Policy
from services.datanet.screen import Finding

_BITS = 3.0
"""Shannon entropy a character from which what follows "password:" is no word."""
_PHRASES = (12, 15, 18, 21, 24)
"""Words of a recovery phrase (BIP 39)."""
_STARTS = 200
"""Places in a run of such words at which a phrase is looked for: who hides one behind more wants to give it away."""

# Name, tell-tale parts (lower case, one of them is in the text), form.
_FORMS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("private key", ("private key",), r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("private key", ("nsec1",), r"\bnsec1[02-9ac-hj-np-z]{58}\b"),
    ("AWS key", ("akia", "asia", "abia", "acca"), r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    ("GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"\bgh[pousr]_[0-9A-Za-z]{36}"),
    ("GitHub token", ("github_pat_",), r"\bgithub_pat_\w{82}"),
    ("GitLab token", ("glpat-",), r"\bglpat-[\w-]{20}"),
    ("Slack token", ("xox",), r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}"),
    ("Google key", ("aiza",), r"\bAIza[\w-]{35}"),
    ("Stripe key", ("k_live_", "k_test_"), r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{10,99}"),
    ("model provider's key", ("sk-",), r"\bsk-(?=[\w-]{0,99}\d)(?=[\w-]{0,99}[A-Z])[\w-]{20,200}"),
    ("Hugging Face token", ("hf_",), r"\bhf_[A-Za-z]{34}\b"),
    ("npm token", ("npm_",), r"\bnpm_[0-9A-Za-z]{36}\b"),
    ("PyPI token", ("pypi-",), r"\bpypi-AgEIcHlwaS5vcmc[\w-]{50,500}"),
    ("SendGrid key", ("sg.",), r"\bSG\.[\w-]{22}\.[\w-]{43}"),
    ("Telegram token", (":aa",), r"\b\d{8,10}:AA[\w-]{33}\b"),
    ("signed token", ("eyj",), r"\beyJ[\w-]{10,1000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}"),
    (
        "password in an address",
        ("://",),
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,100}:(?!(?:pass|pw|secret|x+@|\*+@))[^\s/:@{<$]{3,100}@",
    ),
)
_ANNOUNCED = re.compile(
    r"(?i)\b(?:pass(?:word|wd|phrase|code)?|pwd|secret|(?:api|access|auth|private|client|signing|secret)[ _-]?"
    r"(?:key|token|secret))\b[\"']?(?:\s*[:=]\s*|\s+is:?\s+)[\"'`]?(?P<secret>[^\s\"'`,;<>]{8,200})"
)
_HEX_KEY = re.compile(r"(?i)\b(?:private|secret|seed|signing)\b[^\n]{0,40}?\b(?P<secret>(?:0x)?[0-9a-f]{64})\b")
_ANNOUNCING = ("pass", "pwd", "secret", "key", "token", "private", "seed", "signing")


class Secrets:
    """A check."""

    id = "secrets"

    def look(self, draft: Draft, policy: Policy) -> Finding:
        """Names what was found and in which field."""
        found = {place: spans for place, text in texts(draft).items() if (spans := find(text))}
        if not found:
            return Finding(self.id, passed=True)
        names = {span.kind: span.kind for spans in found.values() for span in spans}
        message = (
            f"it gives away what opens something ({described(found, names)}): take it out, and make a new one, since "
            "this one has been sent"
        )
        return Finding(self.id, passed=False, reason="SECRET", message=message)


def find(text: str) -> list[Span]:
    """Secrets by place."""
    low = text.lower()
    found = [
        Span(match.start(), match.end(), name)
        for name, parts, form in _FORMS
        if any(part in low for part in parts)
        for match in re.finditer(form, text)
    ]
    if any(part in low for part in _ANNOUNCING):
        found += _announced(text)
    return sorted([*found, *_phrases(low)])


def _announced(text: str) -> Iterator[Span]:
    for match in _HEX_KEY.finditer(text):
        yield Span(*match.span("secret"), "private key")
    for match in _ANNOUNCED.finditer(text):
        said = match["secret"]
        if _entropy(said) >= _BITS and any(map(str.isdigit, said)) and any(map(str.isalpha, said)):
            yield Span(*match.span("secret"), "password or key")


def _entropy(text: str) -> float:
    """Bits a character (Shannon), of the text's own frequencies."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _phrases(low: str) -> Iterator[Span]:
    """Recovery phrases: words of the list in a row, apart from punctuation and numbers, whose check bits are right."""
    if low.count(" ") + low.count("\n") < min(_PHRASES) - 1:
        return
    listed, run = _mnemonic()[1], []
    for match in re.finditer(r"[^\W\d_]+|\Z", low):
        if match[0] in listed:
            run.append(match)
        elif run:
            if len(run) >= min(_PHRASES):
                yield from _checked(run)
            run = []


def _checked(run: list[re.Match[str]]) -> Iterator[Span]:
    starts = range(min(len(run) - min(_PHRASES) + 1, _STARTS))
    for start in starts:
        for count in reversed(_PHRASES):
            words = run[start : start + count]
            if len(words) == count and _mnemonic()[0].is_mnemonic_valid(" ".join(word[0] for word in words)):
                yield Span(words[0].start(), words[-1].end(), "recovery phrase")
                return


@cache
def _mnemonic() -> tuple[Any, frozenset[str]]:
    from eth_account.hdaccount.mnemonic import Mnemonic

    english = Mnemonic()
    return english, frozenset(english.wordlist)
