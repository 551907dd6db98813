"""Answers that satisfy a JSON schema: which tokens may come next, by llguidance.

A schema comes from anybody, so what it may cost is bounded: in bytes and in the time that it takes to read, here; in
memory and in time per token, by llguidance. Where a schema passes those bounds in the middle of an answer, nothing but
the end may follow, and `Progress.ended` says so. JSON comes without spaces between its parts, which a small model would
go on making. What it does not know: engines.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openledger import canonical
from services.openlora.engine import RequestRejected

if TYPE_CHECKING:
    import torch

SAMPLES = frozenset({"json_schema"}) if find_spec("llguidance") else frozenset[str]()
"""What is obeyed here; nothing where llguidance is not installed, which is on Linux alone."""
MAX_BYTES = 20_000
MAX_SECONDS = 0.2
"""Of one core, to read a schema; most take a thousandth of that."""


class Schemas:
    """Reads schemas for a base model's tokenizer. Takes about a second to make."""

    def __init__(self, folder: Path) -> None:
        from llguidance.hf import from_tokenizer
        from transformers import AutoTokenizer

        self._tokens: Any = from_tokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def check(self, schema: str) -> None:
        """Raises `RequestRejected`: what is given is no schema that can be followed at a bearable cost; says why."""
        if len(schema.encode(errors="replace")) > MAX_BYTES:
            raise RequestRejected(f"the JSON schema has more than {MAX_BYTES} bytes")
        begun = time.thread_time()
        try:
            if not isinstance(canonical.parse_json(schema.encode()), dict):
                raise RequestRejected("the JSON schema is not a JSON object")
            progress = self.progress(schema)
            progress.allowed(())
        except ValueError as error:
            raise RequestRejected(f"the JSON schema cannot be followed: {str(error)[:300]}") from error
        if progress.error:
            raise RequestRejected(f"the JSON schema cannot be followed: {progress.error[:300]}")
        if time.thread_time() - begun > MAX_SECONDS:
            raise RequestRejected("the JSON schema takes too long to read: make it simpler")

    def progress(self, schema: str) -> Progress:
        """An answer's way through a schema, at its beginning.  Raises `ValueError` for what is none."""
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
        return Progress(LLMatcher(self._tokens, grammar, log_level=0))


class Progress:
    """One answer's way through a schema."""

    def __init__(self, matcher: Any) -> None:
        self._matcher, self._taken = matcher, 0

    @property
    def error(self) -> str:
        """Why there is no way on, if there is none."""
        return str(self._matcher.get_error())

    def allowed(self, made: Sequence[int]) -> torch.Tensor:
        """Which tokens [vocabulary] may follow those of the answer so far; the end alone where there is no way on."""
        import torch

        for token in made[self._taken :]:
            self._matcher.consume_token(token)
        self._taken = len(made)
        return torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8).bool()

    def ended(self, made: Sequence[int]) -> None:
        """Raises `RequestRejected` unless an answer that the model has ended satisfies its schema."""
        self.allowed(made)
        if self.error:
            raise RequestRejected(
                "following the JSON schema became too costly in the middle of the answer: simplify it"
            )

    def narrowed(self, logits: torch.Tensor, made: Sequence[int]) -> torch.Tensor:
        """Logits [vocabulary] after an answer so far, with what may not follow made impossible."""
        import torch

        allowed = torch.nn.functional.pad(self.allowed(made), (0, len(logits)))[: len(logits)].to(logits.device)
        return logits.masked_fill(~allowed, float("-inf"))


@cache
def schemas(folder: Path) -> Schemas:
    """Of a base model's folder, made once."""
    return Schemas(folder)
