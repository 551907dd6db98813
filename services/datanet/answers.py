"""Answers that are given once, however often they are asked for: what the servicer's parts share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.datanet import store
from services.kit import call
from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.idempotency import Idempotency

M = TypeVar("M", bound=Message)


class Answers:
    """The database, and transactions in it under a request id."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.idempotency = Idempotency(store.METADATA)

    async def once(
        self, method: str, request_id: str, request: Message, response: type[M], act: Callable[[Connection], M]
    ) -> M:
        """The first answer to this request of this caller, or what `act` answers now, kept in its transaction."""
        caller = call.principal().name

        def transaction(connection: Connection) -> M:
            known = self.idempotency.recall(connection, caller, method, request_id, request, response)
            if known is not None:
                return known
            savepoint = connection.begin_nested()
            try:
                answer = act(connection)
            except Fault:
                # The same request may have been served elsewhere while this one waited for a lock: what this one wrote
                # before it failed goes then.  What else fails undoes the whole transaction, the savepoint with it.
                savepoint.rollback()
                known = self.idempotency.recall(connection, caller, method, request_id, request, response)
                if known is None:
                    raise
                return known
            savepoint.commit()
            self.idempotency.remember(connection, caller, method, request_id, request, answer)
            return answer

        return await self.database.write(transaction)


def now() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000
