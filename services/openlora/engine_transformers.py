"""The engine on plain transformers: for machines where vLLM cannot run.

All who are being answered take their next token in one forward pass (engine_batch.py), whatever their adapters. A
thread of its own computes; the event loop only hands over. What it does not know: fairness between callers, and where
adapters come from.
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

from openledger import pretrained
from openledger.base_model_shape import BaseModelShape
from services.openlora import engine_json, engine_sampling
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
from services.openlora.engine_batch import Batch
from services.openlora.engine_json import Progress, schemas
from services.openlora.engine_lora import AdapterWeights, LoraHooks
from services.openlora.engine_lora_shelf import LoraShelf
from services.openlora.engine_requests import check_request
from services.openlora.engine_residents import Residents
from services.openlora.engine_sampling import next_token, token_logprobs
from services.openlora.engine_text import AnswerText, TextCodec, end_tokens


@dataclass(eq=False)
class Running:
    """A request being answered: what the computing thread needs to make its next token."""

    request: EngineRequest
    text: AnswerText
    loop: asyncio.AbstractEventLoop
    limit: int
    generator: Any
    weights: AdapterWeights | None = None
    schema: Progress | None = None
    made: list[int] = field(default_factory=list)
    deltas: asyncio.Queue[EngineDelta | Exception] = field(default_factory=asyncio.Queue)
    aborted: threading.Event = field(default_factory=threading.Event)

    def hand_over(self, item: EngineDelta | Exception) -> None:
        """From the computing thread to whoever listens, if anybody still does."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody does
            self.loop.call_soon_threadsafe(self.deltas.put_nowait, item)


class TransformersEngine:
    """See `services.openlora.engine.Engine`."""

    name = "transformers"
    samples = engine_sampling.SAMPLES | engine_json.SAMPLES

    def __init__(self, model: Any, base: Path, settings: EngineSettings) -> None:
        self.version = version("transformers")
        self.description = f"{self.name} {self.version} float32"
        self._model, self._hooks = model, LoraHooks(model)
        self._settings, self._base = settings, base
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
            if schema := request.sampling.json_schema:
                running.schema = await asyncio.to_thread(self._follow, schema)
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
            generator=generator,
        )

    def _follow(self, schema: str) -> Progress:
        known = schemas(self._base)
        known.check(schema)
        return known.progress(schema)

    # In the computing thread:

    def _compute(self) -> None:
        batch, rows = Batch(self._model, self._hooks), list[Running]()
        while True:
            newcomer = None
            with self._wake:
                while not (self._closed or self._waiting or rows):
                    self._wake.wait()
                if self._closed:
                    break
                # One prompt between two steps: those who are being answered do not wait for all who come at once.
                if self._waiting and len(rows) < self._settings.max_running:
                    newcomer = self._waiting.popleft()
            try:
                rows = self._step(batch, rows, newcomer)
            except Exception as error:  # noqa: BLE001  # one pass's trouble must not end the thread that makes them all
                for each in (*rows, *filter(None, (newcomer,))):
                    each.hand_over(error)
                batch, rows = Batch(self._model, self._hooks), []
        for each in (*rows, *self._waiting):
            each.hand_over(EngineDelta((), each.text.finish(), FinishReason.ABORTED))

    def _step(self, batch: Batch, rows: list[Running], newcomer: Running | None) -> list[Running]:
        """Make the next token of every row, and the newcomer's first; whoever has another one to make."""
        rows = self._staying(batch, rows, [not self._left(each) for each in rows])
        if rows:
            logits = batch.step([each.made[-1] for each in rows])
            rows = self._staying(batch, rows, [self._goes_on(*pair) for pair in zip(rows, logits, strict=True)])
        if newcomer is not None and not self._left(newcomer):
            try:
                logits = batch.join(newcomer.request.prompt_token_ids, newcomer.weights)
            except Exception as error:  # noqa: BLE001  # its prompt is its own trouble
                newcomer.hand_over(error)
                return rows
            rows = self._staying(batch, [*rows, newcomer], [True] * len(rows) + [self._goes_on(newcomer, logits)])
        return rows

    def _staying(self, batch: Batch, rows: list[Running], stays: list[bool]) -> list[Running]:
        batch.keep([row for row, stay in enumerate(stays) if stay])
        return [each for each, stay in zip(rows, stays, strict=True) if stay]

    def _left(self, running: Running) -> bool:
        if running.aborted.is_set():
            running.hand_over(EngineDelta((), running.text.finish(), FinishReason.ABORTED))
        return running.aborted.is_set()

    def _goes_on(self, running: Running, logits: Any) -> bool:
        """Choose a request's next token; whether there is another one to make."""
        try:
            delta = self._next(running, logits)
        except Exception as error:  # noqa: BLE001  # it is this request's trouble alone
            running.hand_over(error)  # as it is: it may be nobody's fault but ours
            return False
        running.hand_over(delta)
        return delta.finish_reason is None

    def _next(self, running: Running, logits: Any) -> EngineDelta:
        request, top = running.request, running.request.sampling.logprobs
        possible = running.schema.narrowed(logits, running.made) if running.schema else logits
        token = next_token(possible, request.sampling, running.generator, request.prompt_token_ids, running.made)
        running.made.append(token)
        ended = FinishReason.STOP if token in self._ends else None
        if ended and running.schema:
            running.schema.ended(running.made)
        full = FinishReason.LENGTH if len(running.made) >= running.limit else None
        return running.text.feed((token,), ended or full, () if top is None else (token_logprobs(logits, token, top),))


def _read(base: Path) -> Any:
    import torch

    return pretrained.causal_lm(base, dtype=torch.float32).eval()
