"""Where an answer's tokens lie in its text, by the base model's tokenizer.

The text is as OpenLoRA shows it, without control tokens.  A token that ends within a character takes no room; the one
that ends it takes all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openledger import base_models


@dataclass(frozen=True)
class Places:
    """Of an answer of n tokens: the text, and where each token begins in it [n + 1]."""

    text: str
    starts: tuple[int, ...]

    def word_starts(self) -> list[bool]:
        """Whether each token begins a word, or a character outside of words [n]."""

        def begins(number: int, at: int) -> bool:
            if number and at == self.starts[number - 1]:
                return False  # within a character
            return not (0 < at < len(self.text) and self.text[at - 1].isalnum() and self.text[at].isalnum())

        return [begins(number, at) for number, at in enumerate(self.starts[:-1])]


class Texts:
    """The tokenizer of this service's base model, loaded on first use.  For several threads."""

    def __init__(self, base: str) -> None:
        """base: its name, or its folder."""
        self._base = base
        self._tokenizer: Any = None
        self._lock = threading.Lock()

    def places(self, base_sha256: str, tokens: Sequence[int]) -> Places | None:
        """None where the answer is by another base model, or has tokens that this one does not have."""
        from tokenizers.decoders import DecodeStream

        if base_models.sha256(self._base) != base_sha256:
            return None
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _load(self._base)
            if any(token >= self._tokenizer.get_vocab_size() for token in tokens):
                return None
            stream, text, starts = DecodeStream(skip_special_tokens=True), "", [0]
            for token in tokens:
                text += stream.step(self._tokenizer, token) or ""
                starts.append(len(text))
        return Places(text, tuple(starts))


def _load(base: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base_models.locate(base), local_files_only=True)
    return tokenizer.backend_tokenizer
