"""What is asked of a model, as the model will see it, and what it may be: tokens, sampling, and their limits.

Does not know who asks by what protocol, how words become tokens, nor what an answer costs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openledger.context import Context
from openledger.trace import Trace
from services.kit.errors import Fault, aborted, invalid
from services.openlora.adapters import BASE
from services.openlora.engine import ChatMessage, Sampling
from services.openlora.records import Proven

ROLES = ("system", "user", "assistant")
REPLICA = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"
"""Names of replicas: those of hosts, or none."""
_TOKEN_CHARACTERS = 32
"""A text with more than so many for each token that is taken will not fit, and is not read."""
_EVERY_ENGINE = frozenset({"max_tokens", "temperature", "top_p", "top_k", "seed", "stop"})
"""Sampling parameters that every engine obeys."""


@dataclass(frozen=True)
class Question:
    """One request.  `sampling` is the trace's document of it; `payer` is `accounts/{address}`."""

    request_id: str
    payer: str
    model: str
    prompt: tuple[int, ...]
    sampling: Mapping[str, Any]
    context: Context | None = None
    """Where in the prompt records stand, if any do."""
    replica: str = ""
    """Which of several services answers it."""
    publish: bool = False
    """Whether everybody may have its trace."""

    @property
    def key(self) -> str:
        """The response's id: the same payer and request id name the same answer of one replica."""
        digest = hashlib.sha256((self.payer + self.request_id).encode()).hexdigest()[:32]
        return f"{self.replica}.{digest}" if self.replica else digest

    @property
    def response(self) -> str:
        """The response's resource name."""
        return f"responses/{self.key}"

    @property
    def max_tokens(self) -> int:
        """The longest answer that is wanted."""
        return int(self.sampling["max_tokens"])

    @property
    def how(self) -> Sampling:
        """How the engine is to choose tokens."""
        return Sampling.from_document(self.sampling)

    @property
    def body(self) -> tuple[str, tuple[int, ...], Mapping[str, Any], Context | None, bool]:
        """What must be the same in a request that is sent again."""
        return self.model, self.prompt, self.sampling, self.context, self.publish

    def choices(self, count: int) -> list[Question]:
        """So many questions alike, the first of them this one; each has its own id, and seed where one is set."""
        return [self, *(self._choice(number) for number in range(1, count))]

    def _choice(self, number: int) -> Question:
        sampling = dict(self.sampling)
        if "seed" in sampling:
            sampling["seed"] = (sampling["seed"] + number) % 2**32
        return replace(self, request_id=f"{self.request_id}#{number}", sampling=sampling)

    def asked_again(self, other: Question) -> Fault:
        """Why this cannot be answered while `other`, of the same key, still is."""
        if self.body != other.body:
            return self.reused()
        text = f"request_id {self.request_id} is being answered; send it again in a moment to get that answer"
        return aborted("IN_PROGRESS", text, response=self.response)

    def check_same(self, trace: Trace) -> None:
        """Raises `Fault` unless that trace is of this very question."""
        publish = trace.published if trace.salt else self.publish  # before there were salts nobody could say
        asked = trace.adapter or BASE, trace.prompt_token_ids, trace.sampling, trace.context, publish
        if self.body != asked:
            raise self.reused()

    def reused(self) -> Fault:
        """The request id was used for something else."""
        text = f"request_id {self.request_id} was used for another question before; take a new one for a new question"
        return invalid("REQUEST_ID_REUSED", text, "request_id", request_id=self.request_id)


def answered_by(key: str) -> str:
    """The replica that gave the answer of that id."""
    return key.rpartition(".")[0]


@dataclass(frozen=True)
class Limits:
    """In tokens.  `context` is what the model can see at once: prompt and answer.

    `samples`: the sampling parameters that the engine obeys beyond those that every one does.
    """

    prompt: int
    answer: int
    context: int
    samples: frozenset[str] = frozenset()

    def check_length(self, texts: Sequence[str], proven: Sequence[Proven] = ()) -> None:
        """Raises `Fault` PROMPT_TOO_LONG for texts that cannot fit, by their characters alone."""
        have = sum(map(len, texts)) + sum(len(record.text) for record, _ in proven)
        most = _TOKEN_CHARACTERS * self.prompt
        if have > most:
            text = (
                f"the prompt has {have} characters; at most {self.prompt} tokens are taken, and no text of more than "
                f"{most} characters is looked at"
            )
            limits = {"prompt_characters": have, "max_prompt_tokens": self.prompt, "context_tokens": self.context}
            raise invalid("PROMPT_TOO_LONG", text, "prompt", **{name: str(value) for name, value in limits.items()})

    def check(self, question: Question) -> None:
        """Raises `Fault` that names the limit which the question passes."""
        wanted, have = question.max_tokens, len(question.prompt)
        if question.publish and question.context is not None:
            text = (
                "publish_trace and records do not go together: the trace holds the records, which are their "
                "contributors'. Ask without one of the two; you can give the trace to whom you like yourself"
            )
            raise invalid("CANNOT_PUBLISH", text, "publish_trace")
        if not all(question.how.stop):
            raise invalid("EMPTY_STOP", "an empty stop text would stop every answer", "sampling.stop")
        beyond = sorted(set(question.sampling) - _EVERY_ENGINE - self.samples)
        if beyond:
            text = f"the engine here does not do {', '.join(beyond)}: leave it out, or ask a service whose engine does"
            raise invalid("UNSUPPORTED_SAMPLING", text, f"sampling.{beyond[0]}", parameters=",".join(beyond))
        if wanted > self.answer:
            text = f"max_tokens is {wanted}, at most {self.answer} are generated here"
            raise invalid("TOO_MANY_TOKENS", text, "sampling.max_tokens", limit=str(self.answer))
        room = min(self.prompt, self.context - wanted)
        if have > room:
            text = (
                f"the prompt has {have} tokens, at most {room} are taken: {self.prompt} in any case, and with the "
                f"{wanted} of max_tokens no more than the {self.context} that the model can see at once"
            )
            limits = {"prompt_tokens": have, "max_prompt_tokens": self.prompt, "context_tokens": self.context}
            raise invalid("PROMPT_TOO_LONG", text, "prompt", **{name: str(value) for name, value in limits.items()})


def check_conversation(turns: Sequence[ChatMessage]) -> None:
    """Raises `Fault` for turns that are no conversation to answer."""
    for number, turn in enumerate(turns):
        if turn.role not in ROLES:
            text = f"turn {number} is by {turn.role!r}; a turn is by one of {', '.join(ROLES)}"
            raise invalid("UNKNOWN_ROLE", text, f"messages[{number}].role")
    if turns[-1].role == "assistant":
        raise invalid("NOTHING_ASKED", "the last turn is the assistant's own: there is nothing to answer", "messages")
