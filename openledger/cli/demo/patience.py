"""A client that outlasts a service which is just starting again: it repeats what may be repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Container
from typing import Any, TypeVar

from google.protobuf.message import Message

from openledger.cli.supervisor import READY_SECONDS
from openledger.client import DEADLINE, ApiError, Client

T = TypeVar("T")

PASSING = frozenset({"UNREACHABLE", "IN_PROGRESS", "ENGINE_UNAVAILABLE", "LEDGER_UNAVAILABLE", "IDENTITY_UNAVAILABLE"})
"""Reasons that pass by themselves: something is starting again.  The same request again is safe."""
PATIENCE = 1.5 * READY_SECONDS
"""A service that has died may take as long as one that starts, and then some."""
_PAUSE = 1.0


async def repeated(attempt: Callable[[], Awaitable[T]], reasons: Container[str] = PASSING) -> T:
    """What an attempt gives, made again and again for `PATIENCE` seconds while it fails for one of those reasons."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await attempt()
        except ApiError as error:
            if error.reason not in reasons or time.monotonic() > deadline:
                raise
        await asyncio.sleep(_PAUSE)


class PatientClient(Client):
    """As `Client`, and a call that failed for a reason that passes is made again: by its request_id it is done once."""

    async def call(self, method: Any, request: Any, timeout: float = DEADLINE) -> Any:
        """As `Client.call`.  A request that is a stream is used up by the first try: it is its sender's to repeat."""
        once = super().call
        if not isinstance(request, Message):
            return await once(method, request, timeout)
        return await repeated(lambda: once(method, request, timeout))
