"""An engine without a model, for faults that no real engine has on demand: it can wait, die and refuse when told to.

One token a byte, as in tests/tiny_model.py. The answer depends on prompt and adapter alone. It keeps those promises of
the engine port that services rely on, as far as they can be kept without a model.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence

from services.openlora.engine import (
    AdapterRef,
    AdapterRejected,
    ChatMessage,
    EngineDead,
    EngineDelta,
    EngineRequest,
    FinishReason,
    RequestRejected,
)

END = 2


class FakeEngine:
    """Does as it is told.

    `gate` holds every answer after its `gate_after`-th token while it is clear; `dead` kills what runs and what comes;
    a `talkative` one ignores max_tokens.
    """

    name, version, description, context = "fake", "1", "fake 1", 512
    samples: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.gate, self.load_gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.load_gate.set()
        self.gate_after = 1
        self.dead = self.talkative = False
        self.broken: set[str] = set()
        self.loads: list[str] = []
        self.loaded: set[str] = set()
        self.running: set[str] = set()
        self.most_running = 0
        self.generated: list[str] = []
        self.aborted: list[str] = []

    def tokenize(self, prompt: str) -> tuple[int, ...]:
        return tuple(3 + byte for byte in prompt.encode())

    def tokenize_chat(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        turns = ((1, *self.tokenize(f"{message.role}\n{message.content}"), END) for message in messages)
        return (*(token for turn in turns for token in turn), 1)

    def encode(self, text: str) -> tuple[int, ...]:
        return self.tokenize(text)

    def around(self, asked: str | Sequence[ChatMessage]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if isinstance(asked, str):
            return (), self.tokenize(asked)
        *earlier, last = asked
        before = self.tokenize_chat(earlier)[:-1]
        return (*before, 1, *self.tokenize(f"{last.role}\n")), (*self.tokenize(last.content), END, 1)

    def text(self, token_ids: Sequence[int], stop: tuple[str, ...] = ()) -> str:
        text = bytes(token - 3 for token in token_ids if token >= 3).decode()
        return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]

    async def load(self, adapter: AdapterRef) -> None:
        await self.load_gate.wait()
        self._live()
        self.loads.append(adapter.digest)
        if adapter.digest in self.broken:
            raise AdapterRejected("its weights are no numbers")
        self.loaded.add(adapter.digest)

    async def unload(self, digest: str) -> None:
        self.loaded.discard(digest)

    def resident(self) -> frozenset[str]:
        return frozenset(self.loaded)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        self._live()
        if request.id in self.running:
            raise RequestRejected("the id is in use")
        self.running.add(request.id)
        self.most_running = max(self.most_running, len(self.running))
        self.generated.append(request.id)
        finished = False
        try:
            if not self.gate_after:
                await self.gate.wait()
            for count, (token, last) in enumerate(self._tokens(request), 1):
                yield EngineDelta((token,), self.text((token,)), last)
                finished = last is not None
                await asyncio.sleep(0)
                if not finished and count >= self.gate_after:
                    await self.gate.wait()
                self._live()
        finally:
            self.running.discard(request.id)
            if not finished:
                self.aborted.append(request.id)

    def _tokens(self, request: EngineRequest) -> list[tuple[int, FinishReason | None]]:
        """An answer of 5 to 20 letters, then the end of text; or as much of it as max_tokens allows."""
        seed = hashlib.sha256(repr((request.prompt_token_ids, request.adapter and request.adapter.digest)).encode())
        length = 5 + seed.digest()[0] % 16
        letters = [3 + ord("a") + byte % 26 for byte in seed.digest()[:length]]
        whole = [*letters, END]
        taken = whole if self.talkative else whole[: request.sampling.max_tokens]
        reason = FinishReason.STOP if len(taken) == len(whole) else FinishReason.LENGTH
        return [*((token, None) for token in taken[:-1]), (taken[-1], reason)]

    async def abort(self, request_id: str) -> None:
        raise AssertionError("the service ends a request by closing its stream")

    async def health(self) -> None:
        self._live()

    async def close(self) -> None:
        self.dead = True

    def _live(self) -> None:
        if self.dead:
            raise EngineDead("it died")
