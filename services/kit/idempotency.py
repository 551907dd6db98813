"""request_id: the same request sent again gets its first answer; the same id on another request is an error.

The answer is stored in the transaction that made it true: there is no moment in which one is known without the other.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Column, Connection, DateTime, LargeBinary, MetaData, Table, Text, func, insert, select

from services.kit.errors import invalid

M = TypeVar("M", bound=Message)


def idempotency_table(metadata: MetaData) -> Table:
    """Answers by caller, method and request id."""
    return Table(
        "idempotency",
        metadata,
        Column("caller", Text, primary_key=True),
        Column("method", Text, primary_key=True),
        Column("request_id", Text, primary_key=True),
        Column("request_sha256", LargeBinary, nullable=False),
        Column("response", LargeBinary, nullable=False),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


class Idempotency:
    """The stored answers of one database."""

    def __init__(self, metadata: MetaData) -> None:
        self._table = metadata.tables["idempotency"]

    def recall(
        self, connection: Connection, caller: str, method: str, request_id: str, request: Message, response: type[M]
    ) -> M | None:
        """The first answer to this very request.  Raises `Fault` when the id was used for another one."""
        t = self._table
        row = connection.execute(
            select(t.c.request_sha256, t.c.response).where(
                t.c.caller == caller, t.c.method == method, t.c.request_id == request_id
            )
        ).first()
        if row is None:
            return None
        if row.request_sha256 != fingerprint(request):
            raise invalid(
                "REQUEST_ID_REUSED",
                f"request_id {request_id} was used for another {method} before; take a new one for a new request",
                "request_id",
                request_id=request_id,
            )
        return response.FromString(row.response)

    def remember(
        self, connection: Connection, caller: str, method: str, request_id: str, request: Message, response: Message
    ) -> None:
        """Keep the answer, in the transaction that made it true.

        Where the same request came twice at once, the slower transaction fails here or before, and `Database.write`
        runs it again.
        """
        row = insert(self._table).values(
            caller=caller,
            method=method,
            request_id=request_id,
            request_sha256=fingerprint(request),
            response=response.SerializeToString(),
        )
        connection.execute(row)


def fingerprint(request: Message) -> bytes:
    """SHA-256 of a request.  Deterministic within one build of the schema, which is as long as retries live."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
