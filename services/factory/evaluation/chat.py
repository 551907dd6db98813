"""The words inside tokens: what was asked, without the chat format's frame, and what was answered.

This module does not know which examples are read, nor why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.factory.data import prompt_ids


class Reader:
    """Reads a tokenizer's token ids as text for people: no control signs."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        probes = [prompt_ids(text, tokenizer) for text in ("a", "7")]
        self._front = common_front(probes)
        self._back = common_front([probe[::-1] for probe in probes])[::-1]

    def question(self, prompt: Sequence[int]) -> str:
        """What the user says in a prompt of the chat format; all of the text where there is no such frame."""
        end = len(prompt) - len(self._back)
        framed = tuple(prompt[: len(self._front)]) == self._front and tuple(prompt[end:]) == self._back
        return self.text(prompt[len(self._front) : end] if framed else prompt)

    def text(self, ids: Sequence[int]) -> str:
        """Tokens as text."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def common_front(sequences: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The longest beginning that all of them share."""
    shared = 0
    for tokens in zip(*sequences, strict=False):
        if len(set(tokens)) > 1:
            break
        shared += 1
    return tuple(sequences[0][:shared])
