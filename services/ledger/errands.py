"""What others want written on chain: each thing once, whatever happens on the way.

An errand is kept with its operation in the transaction that takes it; its chain transaction is planned under a key that
names it, so that whoever takes the errand up after a crash goes on where it was.  What it does not know: what is to be
written, which is each kind's to say.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Generic, Protocol, TypeVar

from google.longrunning import operations_pb2
from google.protobuf.message import Message
from sqlalchemy import Connection

from services.kit import logs
from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.operations import Operations, operation_name
from services.ledger.chain import Call, ChainError
from services.ledger.chain_writer import ChainWriter
from services.ledger.changes import Changes
from services.ledger.pen import Pen
from services.ledger.store.chain import State, Transaction


class Errand(Protocol):
    """Something to be written on chain."""

    @property
    def operation(self) -> str:
        """Name of the operation that sees to it."""
        ...


E = TypeVar("E", bound=Errand)


class Kind(Protocol[E]):
    """A kind of errand: its rows, its call, and how the chain shows that it is done."""

    name: str
    """For its operations, such as "anchor"."""

    def key(self, errand: E) -> str:
        """Of its transaction: the same for all that want the same thing written."""
        ...

    def add(self, connection: Connection, errand: E, operation: str) -> bool:
        """Keep it with its operation, if it is the first of its key; says whether it is."""
        ...

    def known(self, connection: Connection, errand: E) -> E:
        """The one that is kept under its key.  Raises `Fault` when that wants something else written."""
        ...

    def waiting(self, connection: Connection) -> list[E]:
        """Those that are not done."""
        ...

    def call(self, errand: E) -> Call:
        """What the transaction does."""
        ...

    def result(self, errand: E, transaction: Transaction | None) -> Message | None:
        """What the operation answers, if the chain holds what was wanted.  Asks the node."""
        ...

    def about(self, errand: E) -> Message:
        """What the operation says meanwhile."""
        ...

    def end(self, connection: Connection, errand: E) -> None:
        """It is done."""
        ...

    def drop(self, connection: Connection, errand: E) -> None:
        """It cannot be done: forget it."""
        ...

    def refused(self, errand: E, error: str) -> Fault:
        """Why the operation failed; `error` is empty where the chain holds something else."""
        ...


class Errands(Generic[E]):
    """Takes errands of one kind, and sees them onto the chain while this process has the pen.  Run `run` for ever."""

    def __init__(
        self,
        database: Database,
        writer: ChainWriter,
        pen: Pen,
        operations: Operations,
        kind: Kind[E],
        *,
        poll_seconds: float,
    ) -> None:
        self._database, self._writer, self._pen, self._operations = database, writer, pen, operations
        self._kind, self._poll = kind, poll_seconds
        self._wanted = Changes()
        self._log = logs.logger("ledger")

    def take(self, connection: Connection, errand: E, owner: str) -> Any:
        """The operation that sees to it, begun if none is under way or done.  Call `wake` after the transaction."""
        name = operation_name(self._kind.name, uuid.uuid4().hex)
        if self._kind.add(connection, errand, name):
            return self._operations.create(connection, name, owner, self._kind.about(errand))
        return operations_pb2.Operation(name=self._kind.known(connection, errand).operation)

    def wake(self) -> None:
        """There is something to write."""
        self._wanted.tell()

    async def run(self) -> None:
        """See to errands, for ever."""
        while True:
            try:
                await self.step()
            except ChainError as error:
                self._log.warning("the chain cannot be used", error=str(error))
            await self._wanted.next(self._poll)

    async def step(self) -> None:
        """Move on everything that is not done yet."""
        waiting = await self._database.read(self._kind.waiting)
        for errand in waiting:
            # Of an errand that failed nothing is left but its transaction, which is tried again.
            await self._writer.plan(self._kind.key(errand), self._kind.call(errand), again=True)
        for errand in waiting:
            ended = await self._writer.wait(self._kind.key(errand), self._poll)
            if ended is not None:
                await self._end(errand, ended)

    async def _end(self, errand: E, ended: Transaction) -> None:
        sent = ended if ended.state is State.FINAL else None
        result = await asyncio.to_thread(self._kind.result, errand, sent)

        def write(connection: Connection) -> None:
            self._pen.check(connection)
            if result is not None:
                self._kind.end(connection, errand)
                self._operations.finish(connection, errand.operation, result)
            else:
                # Forgotten, so that it can be asked for again when the operator has mended what was wrong.
                self._kind.drop(connection, errand)
                self._operations.fail(connection, errand.operation, self._kind.refused(errand, ended.error))

        await self._database.write(write)
        self._log.info(
            "on chain" if result is not None else "not on chain", errand=self._kind.key(errand), error=ended.error
        )
