"""The engine on vLLM: `AsyncLLM` in a process of its own, many adapters in one batch.

Adapters are known to vLLM by their digest, so no cache can mix up two revisions. By itself vLLM loads and evicts them
inside its loop, and a file that is missing there ends the engine for everybody; so they are checked before it sees one,
and `Residents` decides what is loaded and removed. What it does not know: fairness between callers, and where adapters
come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    TokenLogprobs,
)
from services.openlora.engine_json import schemas
from services.openlora.engine_requests import check_request
from services.openlora.engine_residents import Residents
from services.openlora.engine_text import AnswerText, TextCodec, end_tokens
from services.openlora.engine_vllm_process import VllmProcess
from services.openlora.engine_vllm_shelf import VllmShelf
from services.openlora.engine_vllm_start import dtype, installed_version, start

FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "abort": FinishReason.ABORTED}


def _logprobs(output: Any, top: int | None) -> list[TokenLogprobs]:
    """vLLM's, of the tokens of one output: each a mapping that holds the token itself and the likeliest, with ranks."""
    if top is None:
        return []
    return [
        TokenLogprobs(
            token,
            known[token].logprob,
            tuple((each, known[each].logprob) for each in sorted(known, key=lambda e: known[e].rank)[:top]),
        )
        for token, known in zip(output.token_ids, output.logprobs, strict=True)
    ]


class VllmEngine:
    """See `services.openlora.engine.Engine`."""

    name = "vllm"
    samples = engine_sampling.SAMPLES | engine_json.SAMPLES

    def __init__(self, llm: Any, base: Path, settings: EngineSettings) -> None:
        self.version = installed_version()
        self.description = f"{self.name} {self.version} {settings.dtype}"
        self._process = VllmProcess(llm)
        self._settings, self._base = settings, base
        self._codec = TextCodec(base)
        self._shape = BaseModelShape.read(base)
        self._ends = sorted(end_tokens(base))
        shelf = VllmShelf(self._process, self._shape, settings.max_rank)
        self._residents = Residents(shelf, settings.max_adapters)
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
            engine = await asyncio.to_thread(cls, llm, base, replace(settings, dtype=dtype(settings)))
            await engine._process.answered(llm.get_supported_tasks())  # or the first request would ask for it
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
        async with self._using(adapter):
            pass

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """See the port."""
        vocabulary = self._shape.vocabulary
        check_request(request, context=self._settings.context, vocabulary=vocabulary, samples=self.samples)
        if request.id in self._running:
            raise RequestRejected(f"a request with the id {request.id} is running")
        self._running[request.id] = asyncio.Event()
        try:
            if schema := request.sampling.json_schema:
                await asyncio.to_thread(lambda: schemas(self._base).check(schema))
            async with self._using(request.adapter) as lora, aclosing(self._stream(request, lora)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            del self._running[request.id]

    async def abort(self, request_id: str) -> None:
        """See the port."""
        if aborted := self._running.get(request_id):
            aborted.set()
            await self._process.abort(request_id)

    async def unload(self, digest: str) -> None:
        """See the port."""
        await self._residents.unload(digest)

    def resident(self) -> frozenset[str]:
        """See the port."""
        return self._residents.digests()

    async def health(self) -> None:
        """See the port."""
        self._process.check()

    async def close(self) -> None:
        """See the port."""
        for aborted in self._running.values():
            aborted.set()
        await self._process.close(list(self._running))
        await self._residents.close()

    async def _stream(self, request: EngineRequest, lora: Any) -> AsyncGenerator[EngineDelta, None]:
        self._process.check()
        aborted, text = self._running[request.id], AnswerText(self._codec, request.sampling.stop)
        if aborted.is_set():
            yield EngineDelta((), "", FinishReason.ABORTED)
            return
        schema, made = request.sampling.json_schema, list[int]()
        # Closing vLLM's stream is what aborts the request there, after a stop text or when nobody listens any more.
        async with aclosing(self._outputs(request, lora)) as outputs:
            async for output in outputs:
                likely = _logprobs(output, request.sampling.logprobs)
                delta = text.feed(list(output.token_ids), FINISH.get(output.finish_reason), likely)
                made += delta.token_ids
                if schema and delta.finish_reason is FinishReason.STOP and made[-1] in self._ends:
                    schemas(self._base).progress(schema).ended(made)
                if delta.token_ids or delta.finish_reason:
                    yield delta
                if delta.finish_reason:
                    return

    async def _outputs(self, request: EngineRequest, lora: Any) -> AsyncGenerator[Any, None]:
        """What vLLM adds to an answer. What it raises is about this request, unless its process has died."""
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs.engine import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        prompt, parameters = tokens_input(list(request.prompt_token_ids)), self._parameters(request)
        try:
            async with aclosing(
                self._process.llm.generate(prompt, parameters, request.id, lora_request=lora)
            ) as outputs:
                async for output in outputs:
                    yield output.outputs[0]
        except EngineDeadError as error:
            raise EngineDead(f"vLLM has died: {error}") from error
        except Exception as error:
            self._process.check()
            if isinstance(error, VLLMValidationError | ValueError):
                raise RequestRejected(f"vLLM refuses the request: {error}") from error
            raise

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
            min_p=wanted.min_p,
            presence_penalty=wanted.presence_penalty,
            frequency_penalty=wanted.frequency_penalty,
            repetition_penalty=wanted.repetition_penalty,
            logprobs=wanted.logprobs,
            extra_args={"json_schema": wanted.json_schema} if wanted.json_schema else None,
            stop_token_ids=self._ends,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    @asynccontextmanager
    async def _using(self, adapter: AdapterRef | None) -> AsyncIterator[Any]:
        """The name by which vLLM knows an adapter that stays loaded meanwhile; None for the base model."""
        if adapter is None:
            yield None
            return
        from vllm.lora.request import LoRARequest

        self._process.check()
        async with self._residents.using(adapter) as number:
            yield LoRARequest(adapter.digest, number, str(adapter.path))
