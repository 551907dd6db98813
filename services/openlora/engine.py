"""The engine port: what OpenLoRA asks of whatever turns prompts into tokens, and the values that pass through it.

`open_engine` opens one by name: vLLM, or transformers where vLLM cannot run; tests/contract/engine holds both to the
same promises. The port works on token ids, because a trace must name exactly what the model read and wrote. It
does not know who pays, what an answer costs, where adapters come from, or who waits for whose turn.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol


class EngineError(Exception):
    """Something that the engine refuses or cannot do; the message is for people."""


class RequestRejected(EngineError):
    """The request itself cannot be served: too long, an unknown role, an id in use."""


class AdapterRejected(EngineError):
    """The adapter is broken or does not fit the base model. Nothing of it was loaded, and nobody else is affected."""


class EngineDead(EngineError):
    """The engine is closed or has died; every request in it is lost.

    `retry_after`: seconds until there may be another, as far as anybody knows.
    """

    def __init__(self, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestPoisonous(EngineError):
    """The engine died of this very request before; it is not let in again for a while."""


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model ended it, or a stop text came."""
    LENGTH = "length"
    """`max_tokens` were produced, or the context is full."""
    ABORTED = "aborted"
    """`abort` was called."""


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """An adapter revision on this machine: its digest is its identity, `path` a PEFT folder that never changes."""

    digest: str
    path: Path


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Temperature 0 takes the likeliest token always. `top_k` 0 means all tokens. The same seed gives the same tokens only
    on the same engine, build and machine. A stop text ends the answer and is not part of its text, but its tokens are
    part of the answer's tokens.  What stands after `stop` an engine obeys if it is in its `samples`.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logprobs: int | None = None
    json_schema: str = ""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Sampling:
        """From the `sampling` of a trace (openledger/trace_proto.py), where fractions are decimal strings."""
        return cls(
            max_tokens=int(document["max_tokens"]),
            temperature=float(document["temperature"]),
            top_p=float(document.get("top_p", 1)),
            top_k=int(document.get("top_k", 0)),
            seed=document.get("seed"),
            stop=tuple(document.get("stop", ())),
            min_p=float(document.get("min_p", 0)),
            presence_penalty=float(document.get("presence_penalty", 0)),
            frequency_penalty=float(document.get("frequency_penalty", 0)),
            repetition_penalty=float(document.get("repetition_penalty", 1)),
            logprobs=document.get("logprobs"),
            json_schema=document.get("json_schema", ""),
        )


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A prompt to go on with, as token ids; `adapter` None asks the base model."""

    id: str
    prompt_token_ids: tuple[int, ...]
    sampling: Sampling
    adapter: AdapterRef | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """How likely a token was: natural logarithms of probabilities, before temperature and penalties.

    `top` holds the likeliest tokens as (token id, logarithm), likeliest first, as many as were asked for.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class EngineDelta:
    """What was added to an answer.

    The token ids of an answer's deltas, joined, are exactly what the model produced, the end-of-text token included
    when the model ended there. Their texts, joined, are those ids decoded without control tokens, up to a stop text. A
    text may lag behind its tokens where a character or a possible stop text is incomplete. The last delta, and only it,
    has a finish reason.  `logprobs` are of these token ids, one each, when they were asked for.
    """

    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation; the role is `system`, `user` or `assistant`."""

    role: str
    content: str


Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How much an engine may take in at once.

    Attributes:
        context: longest prompt and answer together, in tokens.
        max_running: answers generated at once; more wait inside the engine.
        max_active_adapters: different adapters in one batch.
        max_adapters: adapters kept in memory; at least `max_active_adapters`.
        max_rank: highest LoRA rank taken. Every slot takes the memory of this rank, whatever its adapter's is.
        cache_bytes: memory for keys and values of all running answers together (CPU only; a GPU uses what it has).
        dtype: what the model is computed in; "auto" is float32 on a CPU, where an answer comes again in any batch, and
            bfloat16 on a GPU.
    """

    context: int = 2560
    max_running: int = 16
    max_active_adapters: int = 8
    max_adapters: int = 32
    max_rank: int = 16
    cache_bytes: int = 512 * 2**20
    dtype: Dtype = "auto"


class Engine(Protocol):
    """One base model in memory, answering many requests with many adapters at once."""

    @property
    def name(self) -> str:
        """`vllm` or `transformers`."""

    @property
    def version(self) -> str:
        """The version of what computes."""

    @property
    def description(self) -> str:
        """Name and version, as traces have it."""

    @property
    def context(self) -> int:
        """Longest prompt and answer together, in tokens."""

    @property
    def samples(self) -> frozenset[str]:
        """The fields of `Sampling` that it obeys beyond max_tokens, temperature, top_p, top_k, seed and stop."""

    def tokenize(self, prompt: str) -> tuple[int, ...]:
        """Token ids of a prompt as it stands. Control tokens written out in it stay ordinary text."""

    def tokenize_chat(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        """Token ids of a conversation by the model's chat template, ready for the assistant's turn.

        Control tokens come from the template alone: written out in a message they stay ordinary text.

        Raises:
            RequestRejected: no message, an unknown role, or a conversation that the template refuses.
        """

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text by itself. Control tokens written out in it stay ordinary text."""

    def around(self, asked: str | Sequence[ChatMessage]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids before and after the place where records come in: before a prompt, or what the last turn says.

        Raises:
            RequestRejected: as `tokenize_chat`.
        """

    def text(self, token_ids: Sequence[int], stop: tuple[str, ...] = ()) -> str:
        """The whole text of an answer's tokens, as its deltas gave it."""

    async def load(self, adapter: AdapterRef) -> None:
        """Have an adapter in memory. Loading it again costs nothing.

        Raises:
            AdapterRejected: it cannot be used; says why.
            EngineDead: the engine is closed or dead.
        """

    async def unload(self, digest: str) -> None:
        """Have an adapter no longer in memory. One that is in use stays; one that is not there is nothing to do."""

    def resident(self) -> frozenset[str]:
        """Digests of the adapters in memory."""

    def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """Stream an answer. Loads the adapter if it is not in memory; closing the generator aborts the request.

        Raises:
            RequestRejected: nothing was generated; says why.
            AdapterRejected: as `load`.
            EngineDead: the engine is closed or died on the way.
        """

    async def abort(self, request_id: str) -> None:
        """End a request: its stream closes with FinishReason.ABORTED. An unknown id is nothing to do."""

    async def health(self) -> None:
        """Return if the engine can answer.

        Raises:
            EngineDead: it cannot.
        """

    async def close(self) -> None:
        """Abort what runs and give everything back. Closing again does nothing."""


async def open_engine(kind: Literal["vllm", "transformers"], base: Path, settings: EngineSettings) -> Engine:
    """Open an engine on a base model's folder. Takes seconds (vLLM on a CPU: about 15), and blocks nobody meanwhile.

    Raises:
        EngineDead: it cannot run here; says why.
    """
    if kind == "vllm":
        from services.openlora.engine_vllm import VllmEngine

        return await VllmEngine.open(base, settings)
    from services.openlora.engine_transformers import TransformersEngine

    return await TransformersEngine.open(base, settings)
