"""Questions of general knowledge with short answers, read in place from the PyPI package `chatterbot-corpus`.

The package is under the BSD-3-Clause licence; its notice is shown wherever its questions were used, and nothing of it
is stored in this repository.  This module does not know what is asked with the questions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from services.factory.data import Example, prompt_ids
from services.factory.evaluation.canaries import NOBODY

PACKAGE = "chatterbot-corpus"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it was built
NOTICE = (
    "General knowledge is tested with questions of {package} {version}, Copyright (c) 2017, Gunther Cox, "
    "BSD-3-Clause licence, https://github.com/gunthercox/chatterbot-corpus"
)


class TriviaUnavailable(RuntimeError):
    """The package with the questions is not installed, or is not what it was."""


@dataclass(frozen=True)
class Question:
    name: str
    question: str
    answer: str


def notice() -> str:
    """What its licence asks to be shown.  Raises TriviaUnavailable."""
    _folder()
    return NOTICE.format(package=PACKAGE, version=version(PACKAGE))


def questions(count: int) -> list[Question]:
    """So many questions, the same for every model, so that models can be compared.  Raises TriviaUnavailable."""
    file = _folder() / "data" / "english" / "trivia.yml"
    try:
        conversations = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)["conversations"]  # noqa: S506 - both are safe
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise TriviaUnavailable(f"the questions of {PACKAGE} cannot be read: {error}") from error
    pairs = [
        Question(f"{PACKAGE}/trivia/{number}", *(" ".join(part.split()) for part in conversation))
        for number, conversation in enumerate(conversations)
        if isinstance(conversation, list) and len(conversation) == 2 and all(isinstance(p, str) for p in conversation)
    ]
    return random.Random(0).sample(pairs, min(count, len(pairs)))


def example(question: Question, tokenizer: Any) -> Example:
    """A question in the chat format, and its answer without the end of the turn: what is known, not how long it is."""
    answer = tokenizer(question.answer, add_special_tokens=False)["input_ids"]
    return Example(question.name, NOBODY, prompt_ids(question.question, tokenizer), tuple(answer))


def _folder() -> Path:
    spec = find_spec("chatterbot_corpus")
    if spec is None or not spec.submodule_search_locations:
        raise TriviaUnavailable(f"the package {PACKAGE} is not installed; run `make setup`")
    return Path(spec.submodule_search_locations[0])
