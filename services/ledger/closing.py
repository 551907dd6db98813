"""Closing an epoch: settled and sealed in one transaction, with the operation that tells how it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from google.longrunning import operations_pb2
from sqlalchemy import Connection

from services.kit import logs
from services.kit.database import Database, bound_pause
from services.kit.errors import precondition
from services.kit.idempotency import Idempotency
from services.kit.metrics import Metrics
from services.kit.operations import Operations, operation_name
from services.ledger import journal, leaves, netting, settle, wire
from services.ledger.chain import Chain
from services.ledger.check import Checks
from services.ledger.relay import Asked
from services.ledger.settle import NothingToSettle, Sealed
from services.ledger.settler import Settler
from services.ledger.store import books, epochs, leaf_pages, payers, settlements, settling
from services.ledger.store.epochs import Epoch, State
from services.ledger.store.settling import Moved

METHOD = "CloseEpoch"
# Between two statements; a million accounts' tree takes ten on a small machine.
_COMPUTES_SECONDS = 300


class Closing:
    """Seals epochs.  `batch`: payers redeemed in one transaction.  `most`: what a root may add to the one before."""

    def __init__(
        self,
        database: Database,
        chain: Chain,
        settler: Settler,
        operations: Operations,
        idempotency: Idempotency,
        metrics: Metrics,
        *,
        batch: int,
        most: int,
        checks: Checks,
    ) -> None:
        self._database, self._chain, self._settler = database, chain, settler
        self._most, self._checks = most, checks
        self._operations, self._idempotency, self._batch = operations, idempotency, batch
        self._log = logs.logger("ledger")
        buckets = (0.01, 0.1, 1, 10, 60, 600)
        self._seconds = metrics.histogram("seal_seconds", "How long sealing an epoch held the books", buckets=buckets)

    async def close(self, asked: Asked) -> Any:
        """The operation of the sealed epoch.  Raises `Fault` when one is under way or there is nothing to settle."""
        operation, told = await self._database.write(lambda c: self._close(c, asked))
        if told is not None:
            self._seconds.observe(told["seconds"])
            self._log.info("epoch sealed", **told)
        self._settler.wake()
        return operation

    def _close(self, connection: Connection, asked: Asked) -> tuple[Any, dict[str, Any] | None]:
        """The operation, and what is to be told of a new one."""
        kind = operations_pb2.Operation
        known = self._idempotency.recall(connection, asked.caller, METHOD, asked.request_id, asked.request, kind)
        if known is not None:
            return known, None
        if self._checks.trouble:
            raise precondition("BOOKS_WRONG", f"no epoch is closed now: {self._checks.trouble}")
        books.lock(connection)
        bound_pause(connection, _COMPUTES_SECONDS)
        locked = time.monotonic()
        newest, struck = epochs.newest(connection), epochs.oldest(connection, State.VETOED)
        number, attempt = _next(newest, struck, epochs.oldest(connection, State.SEALED, State.PROPOSED))
        operation = operation_name("epoch", f"{number}.{attempt}")
        told: dict[str, Any] = {}
        if struck is not None and newest is not None and struck.number < newest.number:
            stored = self._again(connection, struck, operation)
        else:
            stored, told = self._new(connection, number, attempt, operation)
        self._plan_redemptions(connection, stored)
        answer = self._operations.create(connection, operation, asked.caller, wire.epoch(stored))
        self._idempotency.remember(connection, asked.caller, METHOD, asked.request_id, asked.request, answer)
        took = round(time.monotonic() - locked, 3)
        return answer, {"epoch": stored.key, "receipts": stored.receipt_count, **told, "seconds": took}

    def _again(self, connection: Connection, struck: Epoch, operation: str) -> Epoch:
        """Sealed once more as it was: what was settled since is a later epoch's, which was sealed on it."""
        attempt = struck.attempt + 1
        settlements.settled_nothing(connection, struck.number, attempt)
        fresh: dict[str, Any] = {"transaction": "", "activate_time": 0, "bundle": None, "held_up": ""}
        return epochs.advance(connection, struck, State.SEALED, attempt=attempt, operation=operation, **fresh)

    def _new(self, connection: Connection, number: int, attempt: int, operation: str) -> tuple[Epoch, dict[str, Any]]:
        """Everything that is open is settled and sealed; and what is to be told of that."""
        active = epochs.newest(connection, State.ACTIVE)
        before = leaf_pages.leaves(connection, active.number) if active else {}
        receipts, earned = epochs.open_receipts(connection), books.earned(connection, journal.PAYABLE)
        netted = netting.write(connection, number, attempt)
        with settling.beside(connection) as soon:
            soon(settling.move, connection, _as_they_lie(netted.moved, earned))
            # Meanwhile, from the same numbers; what was earned may change only once the order of moves is known.
            sealed, waiting = self._seal(_with(earned, netted.moved), before, receipts)
        epoch = Epoch(
            number=number,
            attempt=attempt,
            state=State.SEALED,
            root=sealed.root,
            log_root=sealed.log_root,
            receipt_count=len(receipts),
            leaf_count=len(sealed.leaves),
            total=sealed.total,
            operation=operation,
            waiting=sum(waiting.values()),
        )
        told = {"models": netted.models, "data": netted.data, "unattributed": netted.unattributed}
        return epochs.store(connection, epoch, sealed.leaves, waiting, sealed.nodes), told

    def _seal(
        self, earned: Mapping[str, int], before: Mapping[str, int], receipts: Sequence[str]
    ) -> tuple[Sealed, Mapping[str, int]]:
        """What is sealed, and what of everybody's earnings waits for the next epoch."""
        found = leaves.capped(earned, before, self._most)
        try:
            at = self._chain.contracts.distributor
            sealed = settle.seal(self._chain.chain_id, at, found.promised, before, receipts)
        except NothingToSettle as nothing:
            raise precondition("EMPTY_EPOCH", f"there is no epoch to close: {nothing}") from None
        return sealed, found.waiting

    def _plan_redemptions(self, connection: Connection, epoch: Epoch) -> None:
        """What payers spent has to be with the distributor before a root can promise it."""
        lines = payers.unredeemed(connection)
        for start in range(0, len(lines), self._batch):
            batch = f"epoch/{epoch.key}/{start // self._batch:06d}"
            epochs.plan_redemption(connection, batch, lines[start : start + self._batch])


def _as_they_lie(moved: Moved, earned: Mapping[str, int]) -> Moved:
    """What is moved in the order in which earnings were read, and last what had earned nothing."""
    known = (name for name in map(journal.payable, earned) if name in moved)
    return {**{name: moved[name] for name in known}, **moved}


def _with(earned: dict[str, int], moved: Moved) -> dict[str, int]:
    """What everybody has earned once the books are moved."""
    for name, amount in moved.items():
        if name.startswith(journal.PAYABLE):
            who = name.removeprefix(journal.PAYABLE)
            earned[who] = earned.get(who, 0) + amount
    return earned


def _next(newest: Epoch | None, struck: Epoch | None, open_: Epoch | None) -> tuple[int, int]:
    """Number and attempt of the epoch to seal.  One that was struck out is sealed again: on chain its number is free.

    The oldest first, also where a later one waits for it: roots follow one another.
    """
    if open_ is not None and (struck is None or struck.number > open_.number):
        raise precondition(
            "EPOCH_IN_PROGRESS",
            f"epochs/{open_.number} is {open_.state}, not active yet: wait for {open_.operation}, then close the next "
            "one",
            operation=open_.operation,
        )
    if struck is not None:
        return struck.number, struck.attempt + 1
    return (newest.number + 1 if newest else 1), 1
