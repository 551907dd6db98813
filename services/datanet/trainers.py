"""The port to whoever trains models on records, and its implementation: the Factory, over gRPC.

A record that is told of again under the same request id is told of once, however often and after whatever crash.
"""

from __future__ import annotations

import uuid
from typing import Protocol

from openledger.client import ApiError, Client
from openledger.factory.v1 import factory_pb2

_NAMESPACE = uuid.UUID("3b0d5a52-9d1f-5e43-8f27-4b6f6f0c21d8")
_ALL = "adapters/-/revisions/-"


class NotTold(Exception):
    """Nobody could be told yet; `reason` says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class Trainers(Protocol):
    """Those who train models on records."""

    async def tell(self, record: str, reason: str) -> list[str]:
        """Tell that a record is erased; returns names of revisions that were made from it.  Raises `NotTold`."""


class NoTrainers:
    """An installation without a Factory."""

    async def tell(self, record: str, reason: str) -> list[str]:
        """See `Trainers.tell`."""
        return []


class FactoryTrainers:
    """The Factory's FlagAdapterRevision."""

    def __init__(self, factory: Client) -> None:
        self._factory = factory

    async def tell(self, record: str, reason: str) -> list[str]:
        """See `Trainers.tell`."""
        request = factory_pb2.FlagAdapterRevisionRequest(
            name=_ALL, record=record, reason=reason, request_id=str(uuid.uuid5(_NAMESPACE, record))
        )
        try:
            answer = await self._factory.call(self._factory.factory.FlagAdapterRevision, request)
        except ApiError as error:
            raise NotTold(error.reason, error.message) from None
        return [revision.name for revision in answer.adapter_revisions]
