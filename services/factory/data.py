"""From records to training examples: templates, the chat format, tokens, and the split into training and held-out.

What cannot be used is returned with a reason, never dropped silently and never cut short. A record that reads like an
earlier one is trained on as the earlier one's contributor's, so that copies earn their copier nothing. This module does
not know where records come from, nor what is done with the tokens.
"""

from __future__ import annotations

import hashlib
import math
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openledger import clusters
from services.factory.shown import shown
from services.factory.spec import FineTuneSpec, SpecError


@dataclass(frozen=True)
class Record:
    """A record of a snapshot: its name, its contributor's lower-case address, and its text fields."""

    name: str
    contributor: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Example:
    """A record as tokens. The model is trained on the completion alone, which ends with the end-of-turn token."""

    record: str
    contributor: str
    """Whoever is credited with it."""
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True)
class Refused:
    """A record that is not trained on, and why, in words for its contributor."""

    record: str
    reason: str
    code: str
    """The same for counting: EMPTY_TEXT, CONTROL_TOKEN, TOO_LONG or MISSING_FIELD."""


@dataclass(frozen=True)
class Tokenised:
    examples: tuple[Example, ...]
    refused: tuple[Refused, ...]
    credited_to_others: int = 0
    """Examples whose text reads like an earlier one of somebody else's, who is credited with it."""


class RecordError(ValueError):
    """A record cannot be turned into an example.  `code`: see `Refused`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def load_tokenizer(base: Path) -> Any:
    """The tokenizer of a base model folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base, local_files_only=True)


def tokenise(records: Iterable[Record], spec: FineTuneSpec, tokenizer: Any, context: int | None = None) -> Tokenised:
    """Examples of the records that can be used, in the given order, and the others with reasons.

    context: tokens that the base model takes at most; a longer record is refused, whatever the specification allows.
    The order is that of registration: it decides whose a text is that occurs more than once.
    Raises SpecError for a template that is not valid.
    """
    for template in (spec.prompt_template, spec.completion_template):
        field_names(template)
    given, most = list(records), min(spec.max_length, context or spec.max_length)
    examples: list[Example] = []
    refused: list[Refused] = []
    others = 0
    for record, credited in zip(given, _credited(given, spec), strict=True):
        try:
            examples.append(_example(credited, spec, tokenizer, most))
            others += credited.contributor != record.contributor
        except RecordError as error:
            refused.append(Refused(record.name, str(error), error.code))
    return Tokenised(tuple(examples), tuple(refused), others)


def _credited(records: Sequence[Record], spec: FineTuneSpec) -> list[Record]:
    """The records, each as the first author's of what is to be learnt from it: the completion."""
    firsts = clusters.first(_completion(record, spec) for record in records)
    return [replace(r, contributor=records[first].contributor) for r, first in zip(records, firsts, strict=True)]


def _completion(record: Record, spec: FineTuneSpec) -> str:
    try:
        return render(spec.completion_template, record.fields)
    except RecordError:
        return ""  # it is refused in its turn


def prompt_ids(text: str, tokenizer: Any) -> tuple[int, ...]:
    """A question in the base model's chat format, up to where the answer begins."""
    messages = [{"role": "user", "content": text}]
    encoding = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return tuple(encoding["input_ids"])


def _example(record: Record, spec: FineTuneSpec, tokenizer: Any, most: int) -> Example:
    prompt_text = _clean(render(spec.prompt_template, record.fields), tokenizer)
    completion_text = _clean(render(spec.completion_template, record.fields), tokenizer)
    completion = tokenizer(completion_text, add_special_tokens=False)["input_ids"]
    example = Example(
        record.name, record.contributor, prompt_ids(prompt_text, tokenizer), (*completion, tokenizer.eos_token_id)
    )
    if example.length > most:
        raise RecordError("TOO_LONG", f"it has {example.length} tokens; at most {most} fit")
    return example


def _clean(text: str, tokenizer: Any) -> str:
    if not text.strip():
        raise RecordError("EMPTY_TEXT", "its text is empty")
    for token in tokenizer.get_added_vocab():
        if token in text:
            raise RecordError("CONTROL_TOKEN", f"its text contains {token!r}, which the model takes for a control sign")
    return text


def field_names(template: str) -> list[str]:
    """The fields that a template names: plain ``{name}`` only, no attributes, indices, conversions or formats.

    ``{{`` and ``}}`` stand for braces. Raises SpecError.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise SpecError(f"the template {shown(template)} is not valid: {error}") from error
    names = []
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise SpecError(f"the template {shown(template)} may hold plain field names in braces, not {shown(name)}")
        names.append(name)
    return names


def render(template: str, fields: Mapping[str, str]) -> str:
    """Fill a template from a record's fields. Raises RecordError for a missing field, SpecError for a bad template."""
    missing = [name for name in field_names(template) if name not in fields]
    if missing:
        raise RecordError("MISSING_FIELD", f"it has no field {', '.join(map(repr, missing))}")
    literals = string.Formatter().parse(template)
    return "".join(text + (fields[name] if name is not None else "") for text, name, _, _ in literals)


def split(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples: ``fraction`` held out overall, from every contributor in proportion.

    Which ones is decided by a hash of seed and record name, not by the order of the records; at least one record of
    each contributor stays in training. Both lists are sorted by record.
    """
    by_contributor: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_contributor[example.contributor].append(example)
    train: list[Example] = []
    held_out: list[Example] = []
    owed = 0.0
    for contributor in sorted(by_contributor):
        theirs = sorted(by_contributor[contributor], key=lambda example: _draw(example.record, seed))
        owed += len(theirs) * fraction
        take = min(math.floor(owed + 1e-9), len(theirs) - 1)
        owed -= take
        held_out += theirs[:take]
        train += theirs[take:]
    return sorted(train, key=_by_record), sorted(held_out, key=_by_record)


def _draw(record: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{record}".encode()).digest()


def _by_record(example: Example) -> str:
    return example.record
