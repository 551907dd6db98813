"""Adapters for the transformers engine: checked and read in a thread, held in this process's memory, and let go.

It does not know who uses them, or when one has to go.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from openledger.base_model_shape import BaseModelShape
from services.openlora.engine import AdapterRef
from services.openlora.engine_adapters import check_adapter
from services.openlora.engine_lora import AdapterWeights, LoraHooks


class LoraShelf:
    """See `engine_residents.Holder`."""

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
