"""The engine on plain transformers: for machines where vLLM cannot run.

Every request has its own key-value cache and its own forward pass, one token in turn. That is slower than one batch,
and makes an answer independent of what else is being answered. A thread of its own computes; the event loop only hands
over. What it does not know: fairness between callers, and where adapters come from.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from openledger.base_model_shape import BaseModelShape
from services.openlora.engine import (
    AdapterRef,
    ChatMessage,
    EngineDead,
    EngineDelta,
    EngineRequest,
    EngineSettings,
    FinishReason,
    RequestRejected,
)
from services.openlora.engine_adapters import check_adapter
from services.openlora.engine_lora import AdapterWeights, LoraHooks
from services.openlora.engine_requests import check_request
from services.openlora.engine_residents import Residents
from services.openlora.engine_sampling import SAMPLES, next_token, token_logprobs
from services.openlora.engine_text import AnswerText, TextCodec, end_tokens


@dataclass(eq=False)
class Running:
    """A request being answered: what the computing thread needs to make its next token."""

    request: EngineRequest
    text: AnswerText
    loop: asyncio.AbstractEventLoop
    limit: int
    inputs: Sequence[int]
    generator: Any
    weights: AdapterWeights | None = None
    cache: Any = None
    made: list[int] = field(default_factory=list)
    deltas: asyncio.Queue[EngineDelta | Exception] = field(default_factory=asyncio.Queue)
    aborted: threading.Event = field(default_factory=threading.Event)

    def hand_over(self, item: EngineDelta | Exception) -> None:
        """From the computing thread to whoever listens, if anybody still does."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody does
            self.loop.call_soon_threadsafe(self.deltas.put_nowait, item)


class LoraShelf:
    """See `engine_residents.Holder`: adapters in this process's memory."""

    def __init__(self, hooks: LoraHooks, shape: BaseModelShape, max_rank: int) -> None:
        self._hooks, self._shape, self._max_rank = hooks, shape, max_rank
        self._read: dict[int, AdapterWeights] = {}
        self.weights: dict[int, AdapterWeights] = {}
        """What is held, by number. A running request keeps its own reference."""

    async def prepare(self, adapter: AdapterRef, number: int) -> None:
        """Check the files and read them, in a thread."""
        self._read[number] = await asyncio.to_thread(self._check_and_read, adapter.path)

    async def take(self, number: int) -> None:
        """Hold what was read."""
        self.weights[number] = self._read.pop(number)

    async def drop(self, number: int) -> None:
        """Let it go."""
        del self.weights[number]

    def _check_and_read(self, path: Path) -> AdapterWeights:
        check_adapter(path, self._shape, max_rank=self._max_rank, dora=True)
        return self._hooks.read(path)


class TransformersEngine:
    """See `services.openlora.engine.Engine`."""

    name = "transformers"
    samples = SAMPLES

    def __init__(self, model: Any, base: Path, settings: EngineSettings) -> None:
        self.version = version("transformers")
        self.description = f"{self.name} {self.version}"
        self._model, self._hooks = model, LoraHooks(model)
        self._settings = settings
        self._codec = TextCodec(base)
        self._shape = BaseModelShape.read(base)
        self._ends = end_tokens(base)
        self._shelf = LoraShelf(self._hooks, self._shape, settings.max_rank)
        self._residents = Residents(self._shelf, settings.max_adapters)
        self._requests: dict[str, Running] = {}
        self._waiting: deque[Running] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._compute, name="engine", daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, base: Path, settings: EngineSettings) -> TransformersEngine:
        """Load a base model's folder, in float32.

        Raises:
            EngineDead: the folder holds no model that can be loaded.
        """
        try:
            return await asyncio.to_thread(lambda: cls(_read(base), base, settings))
        except (ImportError, OSError, ValueError) as error:
            raise EngineDead(f"the base model in {base} cannot be loaded: {error}") from error

    @property
    def context(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._settings.context

    def tokenize(self, prompt: str) -> tuple[int, ...]:
        """See the port."""
        return self._codec.tokenize(prompt)

    def tokenize_chat(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        """See the port."""
        return self._codec.tokenize_chat(messages)

    def encode(self, text: str) -> tuple[int, ...]:
        """See the port."""
        return self._codec.encode(text)

    def around(self, asked: str | Sequence[ChatMessage]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """See the port."""
        return self._codec.around(asked)

    def text(self, token_ids: Sequence[int], stop: tuple[str, ...] = ()) -> str:
        """See the port."""
        return self._codec.answer(token_ids, stop)

    async def load(self, adapter: AdapterRef) -> None:
        """See the port."""
        async with self._using(adapter):
            pass

    async def unload(self, digest: str) -> None:
        """See the port."""
        await self._residents.unload(digest)

    def resident(self) -> frozenset[str]:
        """See the port."""
        return self._residents.digests()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """See the port."""
        vocabulary = self._shape.vocabulary
        check_request(request, context=self._settings.context, vocabulary=vocabulary, samples=self.samples)
        await self.health()
        if request.id in self._requests:
            raise RequestRejected(f"a request with the id {request.id} is running")
        running = self._requests[request.id] = self._prepare(request)
        try:
            async with self._using(request.adapter) as running.weights:
                with self._wake:
                    self._waiting.append(running)
                    self._wake.notify()
                finished = False
                while not finished:
                    item = await running.deltas.get()
                    if isinstance(item, Exception):
                        raise item
                    finished = item.finish_reason is not None
                    yield item
        finally:
            running.aborted.set()
            del self._requests[request.id]

    async def abort(self, request_id: str) -> None:
        """See the port."""
        if running := self._requests.get(request_id):
            running.aborted.set()

    async def health(self) -> None:
        """See the port."""
        if self._closed:
            raise EngineDead("the engine is closed")
        if not self._thread.is_alive():
            raise EngineDead("the engine's thread has died")

    async def close(self) -> None:
        """See the port."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        await self._residents.close()

    @contextlib.asynccontextmanager
    async def _using(self, adapter: AdapterRef | None) -> AsyncIterator[AdapterWeights | None]:
        """An adapter that stays loaded meanwhile; None for the base model."""
        await self.health()
        if adapter is None:
            yield None
            return
        async with self._residents.using(adapter) as number:
            yield self._shelf.weights[number]

    def _prepare(self, request: EngineRequest) -> Running:
        import torch

        generator, seed = torch.Generator(), request.sampling.seed
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        return Running(
            request=request,
            text=AnswerText(self._codec, request.sampling.stop),
            loop=asyncio.get_running_loop(),
            limit=min(request.sampling.max_tokens, self._settings.context - len(request.prompt_token_ids)),
            inputs=request.prompt_token_ids,
            generator=generator,
        )

    # In the computing thread:

    def _compute(self) -> None:
        running: list[Running] = []
        while True:
            with self._wake:
                while not (self._closed or self._waiting or running):
                    self._wake.wait()
                if self._closed:
                    break
                while self._waiting and len(running) < self._settings.max_running:
                    running.append(self._waiting.popleft())
            running = [each for each in running if self._step(each)]
        for each in (*running, *self._waiting):
            each.hand_over(EngineDelta((), each.text.finish(), FinishReason.ABORTED))

    def _step(self, running: Running) -> bool:
        """Make a request's next token; whether there is another one to make."""
        try:
            delta = self._next(running)
        except Exception as error:  # noqa: BLE001  # one request's trouble must not end the thread that serves them all
            running.hand_over(error)  # as it is: it may be nobody's fault but ours
            return False
        running.hand_over(delta)
        return delta.finish_reason is None

    def _next(self, running: Running) -> EngineDelta:
        import torch

        if running.aborted.is_set():
            return EngineDelta((), running.text.finish(), FinishReason.ABORTED)
        inputs = torch.tensor([list(running.inputs)])
        with torch.inference_mode(), self._hooks.applied(running.weights):
            output = self._model(inputs, past_key_values=running.cache, use_cache=True, logits_to_keep=1)
        logits, request = output.logits[0, -1].float(), running.request
        token = next_token(logits, request.sampling, running.generator, request.prompt_token_ids, running.made)
        running.cache, running.inputs = output.past_key_values, (token,)
        running.made.append(token)
        ended = FinishReason.STOP if token in self._ends else None
        full = FinishReason.LENGTH if len(running.made) >= running.limit else None
        top = request.sampling.logprobs
        return running.text.feed((token,), ended or full, () if top is None else (token_logprobs(logits, token, top),))


def _read(base: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True).eval()
