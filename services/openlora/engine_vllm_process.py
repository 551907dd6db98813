"""vLLM's process as seen from here: calls into it that end when it dies, and its end.

It does not know requests or adapters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from services.openlora.engine import EngineDead

T = TypeVar("T")


class VllmProcess:
    """An `AsyncLLM` and the process that computes for it."""

    def __init__(self, llm: Any) -> None:
        self._llm: Any = llm
        self._closing = False

    @property
    def llm(self) -> Any:
        """The `AsyncLLM`.

        Raises:
            EngineDead: it is closed or dead.
        """
        self.check()
        return self._llm

    def check(self) -> None:
        """Return if it lives.  Raises `EngineDead`."""
        if self._closing:
            raise EngineDead("the engine is closed")
        if self._llm.errored:
            raise EngineDead("vLLM's process has died")

    async def answered(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call to the process, which by itself would wait for ever when the process dies meanwhile."""
        llm, task = self._llm, asyncio.create_task(call)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=0.5)
                if not task.done() and llm.errored:
                    raise EngineDead("vLLM's process has died")
        finally:
            task.cancel()
        return task.result()

    async def everywhere(self, method: str, *arguments: str | int) -> list[Any]:
        """Call a method of every worker, between two steps of vLLM's loop; what each returned.

        Raises:
            EngineDead: it is closed or dead.
        """
        return list(await self.answered(self.llm.collective_rpc(method, args=arguments)))

    async def abort(self, request_id: str) -> None:
        """End a request, if there is one."""
        if not self._closing:
            await self.answered(self._llm.abort(request_id))

    async def close(self, running: Sequence[str]) -> None:
        """End what runs, and the process. Closing again does nothing."""
        llm = self._llm
        if self._closing:
            return
        self._closing = True
        with suppress(EngineDead):
            await self.answered(llm.abort(list(running)))
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # it would report the end of vLLM's process as a failure
        await asyncio.to_thread(llm.shutdown)
        # After its process died vLLM may leave sockets open, and an interpreter with open sockets does not end.
        llm.engine_core.resources.input_socket.close(linger=0)
        llm.engine_core.resources.output_socket.close(linger=0)
        self._llm = None
        # vLLM shuts down again when it is collected; at the interpreter's end that fails, with a traceback.
        llm.shutdown = lambda *_: None
