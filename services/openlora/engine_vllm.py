"""The engine on vLLM: `AsyncLLM` in a process of its own, many adapters in one batch.

Adapters are known to vLLM by their digest, so no cache can mix up two revisions. vLLM loads and evicts adapters inside
its loop, and a file that is missing there ends the engine for everybody; so this module checks an adapter before vLLM
sees it, keeps its own table of what is loaded, and makes room only by removing what no request uses. What it does not
know: fairness between callers, and where adapters come from.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from openledger.base_model_shape import BaseModelShape
from services.openlora.engine import (
    AdapterRef,
    AdapterRejected,
    ChatMessage,
    EngineDead,
    EngineDelta,
    EngineRequest,
    EngineSettings,
    FinishReason,
    RequestRejected,
    check_request,
)
from services.openlora.engine_adapters import check_adapter
from services.openlora.engine_text import AnswerText, TextCodec, end_tokens
from services.openlora.engine_vllm_start import installed_version, start

T = TypeVar("T")

FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "abort": FinishReason.ABORTED}


@dataclass
class Resident:
    """An adapter that vLLM holds: the request object that names it, and how many answers use it now."""

    request: Any
    users: int = 0


class VllmEngine:
    """See `services.openlora.engine.Engine`."""

    name = "vllm"
    samples: frozenset[str] = frozenset()

    def __init__(self, llm: Any, base: Path, settings: EngineSettings) -> None:
        self.version = installed_version()
        self.description = f"{self.name} {self.version}"
        self._llm: Any = llm
        self._closing = False
        self._settings = settings
        self._codec = TextCodec(base)
        self._shape = BaseModelShape.read(base)
        self._ends = sorted(end_tokens(base))
        self._residents: dict[str, Resident] = {}
        """By digest, least recently used first."""
        self._loading = asyncio.Lock()
        self._room = asyncio.Condition()
        self._numbers = itertools.count(1)
        self._running: dict[str, asyncio.Event] = {}

    @classmethod
    async def open(cls, base: Path, settings: EngineSettings) -> VllmEngine:
        """Start vLLM on a base model's folder.

        Raises:
            EngineDead: vLLM is not installed or does not start here; says why.
        """
        installed_version()
        try:
            llm = await asyncio.to_thread(start, base, settings)
            engine = await asyncio.to_thread(cls, llm, base, settings)
            await engine._answered(llm.get_supported_tasks())  # or the first request would ask for it
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise EngineDead(f"vLLM does not start: {error}") from error
        return engine

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
        async with self._loading:
            await self._load(adapter)

    async def unload(self, digest: str) -> None:
        """See the port."""
        async with self._loading:
            resident = self._residents.get(digest)
            if resident is not None and not resident.users:
                del self._residents[digest]
                await self._answered(self._llm.remove_lora(resident.request.lora_int_id))

    def resident(self) -> frozenset[str]:
        """See the port."""
        return frozenset(self._residents)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """See the port."""
        check_request(request, context=self._settings.context, vocabulary=self._shape.vocabulary)
        if request.id in self._running:
            raise RequestRejected(f"a request with the id {request.id} is running")
        self._running[request.id] = asyncio.Event()
        try:
            async with self._using(request.adapter) as lora, aclosing(self._stream(request, lora)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            del self._running[request.id]

    async def abort(self, request_id: str) -> None:
        """See the port."""
        if aborted := self._running.get(request_id):
            aborted.set()
            if not self._closing:
                await self._answered(self._llm.abort(request_id))

    async def health(self) -> None:
        """See the port."""
        if self._closing:
            raise EngineDead("the engine is closed")
        if self._llm.errored:
            raise EngineDead("vLLM's process has died")

    async def close(self) -> None:
        """See the port."""
        llm = self._llm
        if llm is None or self._closing:
            return
        self._closing = True
        for aborted in self._running.values():
            aborted.set()
        with suppress(EngineDead):
            await self._answered(llm.abort(list(self._running)))
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # it would report the end of vLLM's process as a failure
        await asyncio.to_thread(llm.shutdown)
        # After its process died vLLM may leave sockets open, and an interpreter with open sockets does not end.
        llm.engine_core.resources.input_socket.close(linger=0)
        llm.engine_core.resources.output_socket.close(linger=0)
        self._llm = None
        # vLLM shuts down again when it is collected; at the interpreter's end that fails, with a traceback.
        llm.shutdown = lambda *_: None

    async def _stream(self, request: EngineRequest, lora: Any) -> AsyncGenerator[EngineDelta, None]:
        from vllm.inputs.engine import tokens_input

        await self.health()
        aborted, text = self._running[request.id], AnswerText(self._codec, request.sampling.stop)
        if aborted.is_set():
            yield EngineDelta((), "", FinishReason.ABORTED)
            return
        prompt = tokens_input(list(request.prompt_token_ids))
        try:
            outputs = self._llm.generate(prompt, self._parameters(request), request.id, lora_request=lora)
            # Closing vLLM's stream is what aborts the request there, after a stop text or when nobody listens any more.
            async with aclosing(outputs):
                async for output in outputs:
                    answer = output.outputs[0]
                    delta = text.feed(list(answer.token_ids), FINISH.get(answer.finish_reason))
                    if delta.token_ids or delta.finish_reason:
                        yield delta
                    if delta.finish_reason:
                        return
        except Exception as error:
            raise await self._failure(error, "the request failed inside vLLM") from error

    def _parameters(self, request: EngineRequest) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        wanted = request.sampling
        return SamplingParams(
            max_tokens=min(wanted.max_tokens, self._settings.context - len(request.prompt_token_ids)),
            temperature=wanted.temperature,
            top_p=wanted.top_p,
            top_k=wanted.top_k,
            seed=wanted.seed,
            stop_token_ids=self._ends,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    async def _failure(self, error: Exception, otherwise: str) -> Exception:
        """What an exception out of vLLM means."""
        from vllm.exceptions import VLLMValidationError

        if self._closing or self._llm.errored:
            return EngineDead(f"vLLM has died: {error}")
        if isinstance(error, VLLMValidationError | ValueError):
            return RequestRejected(f"vLLM refuses the request: {error}")
        return EngineDead(f"{otherwise}: {error!r}")

    async def _answered(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call to vLLM's process, which by itself would wait for ever when the process dies meanwhile."""
        task = asyncio.create_task(call)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=0.5)
                if not task.done() and self._llm.errored:
                    raise EngineDead("vLLM's process has died")
        finally:
            task.cancel()
        return task.result()

    @asynccontextmanager
    async def _using(self, adapter: AdapterRef | None) -> AsyncIterator[Any]:
        """The name by which vLLM knows an adapter that stays loaded meanwhile; None for the base model."""
        if adapter is None:
            yield None
            return
        async with self._loading:
            resident = await self._load(adapter)
            resident.users += 1
        try:
            yield resident.request
        finally:
            resident.users -= 1
            async with self._room:
                self._room.notify_all()

    async def _load(self, adapter: AdapterRef) -> Resident:
        """Under `_loading`: the adapter's entry, most recently used."""
        await self.health()
        resident = self._residents.pop(adapter.digest, None)
        if resident is None:
            # Files are read here and not in vLLM's loop, where they would hold up every answer.
            rank = self._settings.max_rank
            await asyncio.to_thread(check_adapter, adapter.path, self._shape, max_rank=rank, dora=False)
            await self._make_room()
            resident = await self._add(adapter)
        self._residents[adapter.digest] = resident
        return resident

    async def _make_room(self) -> None:
        """Remove the adapter that was not used for longest; wait while all of them are in use."""
        while len(self._residents) >= self._settings.max_adapters:
            idle = next((digest for digest, resident in self._residents.items() if not resident.users), None)
            if idle is None:
                async with self._room:
                    await self._room.wait()
            else:
                number = self._residents.pop(idle).request.lora_int_id
                await self._answered(self._llm.remove_lora(number))

    async def _add(self, adapter: AdapterRef) -> Resident:
        from vllm.lora.request import LoRARequest

        lora = LoRARequest(adapter.digest, next(self._numbers), str(adapter.path))
        try:
            await self._answered(self._llm.add_lora(lora))
        except Exception as error:
            await self.health()
            await self._answered(self._llm.remove_lora(lora.lora_int_id))  # it may have got half of the way
            raise AdapterRejected(f"vLLM cannot load it: {error}") from error
        return Resident(lora)
