"""What the API works with, and which receipts concern whom."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from openledger import names, split
from openledger import receipt as receipts
from openledger.artifacts import ArtifactStore
from openledger.receipt import Receipt
from services.attribution import store
from services.attribution.store import DeadLetter, StoredReceipt
from services.kit import call
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.errors import Fault, denied, not_found, precondition

_POLL = 0.1


@dataclass(frozen=True)
class Desk:
    """An answer carries at most `page_bytes` of receipts, and always one."""

    database: Database
    receipts: DurableLog
    artifacts: ArtifactStore
    operators: frozenset[str]
    page_bytes: int

    async def concerning(self, name: str, wait: float) -> tuple[StoredReceipt, Receipt]:
        """A receipt that the caller may see, waited for so many seconds.

        name: receipts/{response}.  Raises `Fault`: RECEIPT_NOT_FOUND, DEAD_LETTERED.
        """
        (key,) = names.match("receipts/*", name)
        found = await self._settled(key, wait)
        if isinstance(found, StoredReceipt):
            document = receipts.parse(found.document)
            if _may_see(document):
                return found, document
        elif found is not None and (call.principal().service or _is(found.refused.payer)):
            raise precondition(
                "DEAD_LETTERED",
                f"the answer responses/{key} could not be attributed, and nobody is charged for it: "
                f"{found.refused.message}",
                why=found.refused.reason,
                response=f"responses/{key}",
            )
        raise _not_found(key)

    async def trace_of(self, name: str, wait: float) -> tuple[str, str]:
        """Of a settled answer, with a receipt or without, the response and its trace's SHA-256.

        For its payer and for operators.  Raises `Fault`: RECEIPT_NOT_FOUND, PAYER_ONLY.
        """
        (key,) = names.match("receipts/*", name)
        found = await self._settled(key, wait)
        concerned = False
        if isinstance(found, StoredReceipt):
            document = receipts.parse(found.document)
            payer, sha256, concerned = document.payer, document.trace_sha256, _may_see(document)
        elif found is not None:
            payer, sha256 = found.refused.payer, found.refused.trace_sha256
        if found is None or not sha256:
            raise _not_found(key)
        if self.may_read(payer):
            return f"responses/{key}", sha256
        if concerned:
            raise denied(
                "PAYER_ONLY", "what was asked and answered is told to who paid for it, and may tell it to others"
            )
        raise _not_found(key)

    def may_read(self, payer: str) -> bool:
        """Whether the caller is told what that payer asked and was answered, published or not."""
        return _is(payer) or call.principal().address in self.operators

    async def _settled(self, key: str, wait: float) -> StoredReceipt | DeadLetter | None:
        """What became of an answer's trace, waiting for it when nothing has yet."""
        deadline = time.monotonic() + wait
        while True:
            found = await self.database.read(
                lambda c: store.receipt(c, f"responses/{key}") or store.dead_letter(c, key)
            )
            if found is not None or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_POLL)


def _not_found(key: str) -> Fault:
    return not_found(
        "RECEIPT_NOT_FOUND",
        f"there is no receipt for responses/{key[:100]} that concerns you. A new answer's receipt takes some "
        "seconds: ask with wait_seconds, as its payer or as somebody it pays. If it stays away, check the name",
        response=f"responses/{key}",
    )


def _may_see(document: Receipt) -> bool:
    """Whether the caller is who paid, one of those who are paid, or a service that was let in."""
    caller = call.principal()
    if caller.service:
        return True
    address = caller.address
    paid = {document.developer, document.platform, *map(split.payee, document.shares)}
    return _is(document.payer) or address in paid


def _is(payer: str) -> bool:
    return call.principal().name == payer
