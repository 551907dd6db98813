"""Adapters on their way into vLLM: checked here, read by `engine_vllm_stage.Staging` there, held, and let go.

It does not know who uses them, or when one has to go.
"""

from __future__ import annotations

import asyncio

from openledger.base_model_shape import BaseModelShape
from services.openlora.engine import AdapterRef, AdapterRejected
from services.openlora.engine_adapters import check_adapter
from services.openlora.engine_vllm_process import VllmProcess

_POLL_FIRST, _POLL_MOST = 0.005, 0.1


class VllmShelf:
    """See `engine_residents.Holder`."""

    def __init__(self, process: VllmProcess, shape: BaseModelShape, max_rank: int) -> None:
        self._process, self._shape, self._max_rank = process, shape, max_rank

    async def prepare(self, adapter: AdapterRef, number: int) -> None:
        """Check the files, then have vLLM's process read them, beside its loop."""
        self._process.check()
        await asyncio.to_thread(check_adapter, adapter.path, self._shape, max_rank=self._max_rank, dora=False)
        await self._process.everywhere("stage_adapter", adapter.digest, number, str(adapter.path))
        pause = _POLL_FIRST
        while None in (states := await self._process.everywhere("staged_adapter", number)):
            await asyncio.sleep(pause)
            pause = min(_POLL_MOST, pause * 2)
        if why := next(filter(None, states), ""):
            raise AdapterRejected(f"vLLM cannot load it: {why}")

    async def take(self, number: int) -> None:
        """Into vLLM's memory; it comes into one of its slots with the first batch that needs it."""
        await self._process.everywhere("adopt_adapter", number)

    async def drop(self, number: int) -> None:
        """Out of vLLM's memory."""
        await self._process.answered(self._process.llm.remove_lora(number))
