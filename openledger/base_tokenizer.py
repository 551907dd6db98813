"""A base model's tokens of a text, as records before a question are tokenised: no control tokens, whatever it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=4)
def encoder(folder: Path) -> Callable[[str], list[int]]:
    """The encoding of texts by the tokenizer in a base model's folder.  Raises `OSError` or `ValueError` for none."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    tokenizer.encode_special_tokens = True  # control tokens that are written out in a text are text

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    return encode
