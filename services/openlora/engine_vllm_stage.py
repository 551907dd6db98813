"""Adapters come into vLLM beside its loop: a thread of vLLM's own process reads the file while the loop computes.

vLLM mixes `Staging` into its worker (its setting `worker_extension_cls`, on CPUs and GPUs alike) and calls it by name
between two steps. vLLM's own `add_lora` reads the file inside the loop, where everybody waits for it, and takes a slot
at once, whoever is using it; here a slot is taken by the first batch that needs it. This module is imported in vLLM's
process. It does not know which adapters are wanted, or whether they are any good.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Staging:
    """Methods for vLLM's worker; none of them waits. Numbers are vLLM's `lora_int_id`."""

    model_runner: Any

    def stage_adapter(self, name: str, number: int, path: str) -> None:
        """Begin to read an adapter's folder."""
        from vllm.lora.request import LoRARequest

        self._staging()[number] = _READERS.submit(self._read_adapter, LoRARequest(name, number, path))

    def staged_adapter(self, number: int) -> str | None:
        """None while an adapter is being read; then nothing, or why it cannot be had, which also forgets it."""
        reading = self._staging()[number]
        if not reading.done():
            return None
        error = reading.exception()
        if error is None:
            return ""
        del self._staging()[number]
        return str(error) or repr(error)

    def adopt_adapter(self, number: int) -> None:
        """Put an adapter that was read among those that vLLM holds, beside its slots.

        Raises:
            RuntimeError: vLLM holds as many as it may; remove one first.
        """
        adapters = self.model_runner.lora_manager._adapter_manager  # a private name: the pin of vLLM is exact
        if len(adapters) >= adapters.capacity:
            raise RuntimeError(f"vLLM holds {len(adapters)} adapters already")
        adapters.add_adapter(self._staging().pop(number).result())

    def _read_adapter(self, request: Any) -> Any:
        return self.model_runner.lora_manager._load_adapter(request)  # as above

    def _staging(self) -> dict[int, Future[Any]]:
        """By number. vLLM gives the mixed-in class no `__init__`."""
        staging: dict[int, Future[Any]] = self.__dict__.setdefault("_staging_now", {})
        return staging


_READERS = ThreadPoolExecutor(2, thread_name_prefix="adapters")
