"""What every part of the Factory's API works with, and how it answers: once for each request, to the owner alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from openledger import names
from openledger.artifacts import ArtifactStore
from services.factory import store
from services.factory.admit import Admission
from services.factory.bell import Bell
from services.factory.combine import Combiner
from services.factory.estimate import Estimator
from services.factory.model import FineTune
from services.factory.tables import METADATA
from services.kit import call
from services.kit.auth import Access
from services.kit.database import Database
from services.kit.errors import invalid, not_found
from services.kit.executor import Done, Shard
from services.kit.idempotency import Idempotency
from services.kit.private_files import PrivateFiles

M = TypeVar("M", bound=Message)
T = TypeVar("T")

PAGE, MAX_INTEGER = 50, 2**63 - 1

AccessTable = Mapping[str, Access]


@dataclass(frozen=True)
class Workshop:
    """The service's parts."""

    database: Database
    admission: Admission
    estimator: Estimator
    records: ArtifactStore
    """Verified records of snapshots, never published."""
    workers: Path
    """Folder of what the executor's workers made."""
    private: PrivateFiles
    """Of revisions, never published."""
    artifacts: ArtifactStore
    combiner: Combiner
    find: Callable[[Shard], Awaitable[Done | None]]
    """What workers have made of a piece of work, if they have."""
    bell: Bell
    threads: int
    precision: str
    """Of fine-tunes that ask for none."""
    most_unfinished: int
    """Fine-tunes of one account that wait or run."""
    queueing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a fine-tune is put into the line: only one process does."""


class Answers:
    """Answers that are given once, whoever asks how often."""

    def __init__(self, workshop: Workshop) -> None:
        self._database, self._bell = workshop.database, workshop.bell
        self._idempotency = Idempotency(METADATA)

    async def earlier(self, request: Message, response: type[M]) -> M | None:
        """The first answer to this very request, if it was answered."""
        return await self._database.read(lambda c: self._recall(c, request, response))

    async def once(self, request: Message, response: type[M], change: Callable[[Connection], M]) -> M:
        """Make a change unless this very request made it before; its first answer either way."""

        def transaction(c: Connection) -> M:
            earlier = self._recall(c, request, response)
            if earlier is not None:
                return earlier
            answer = change(c)
            caller, method, id_ = _key(request)
            self._idempotency.remember(c, caller, method, id_, request, answer)
            return answer

        answer = await self._database.write(transaction)
        self._bell.ring()
        return answer

    def _recall(self, c: Connection, request: Message, response: type[M]) -> M | None:
        caller, method, id_ = _key(request)
        return self._idempotency.recall(c, caller, method, id_, request, response)


def _key(request: Message) -> tuple[str, str, str]:
    id_ = request.request_id  # type: ignore[attr-defined]
    return call.principal().name, call.current().method.rpartition("/")[2], id_


def mine(name: str) -> Callable[[Connection], FineTune]:
    """Finds the caller's fine-tune of that name.  Another's is as if it were not there."""
    owner = call.principal().address

    def find(c: Connection) -> FineTune:
        job = store.find(c, names.match("fineTunes/*", name)[0])
        if job is None or job.owner != owner:
            raise not_found("FINE_TUNE_NOT_FOUND", f"accounts/{owner} has no {name}")
        return job

    return find


def before(token: str) -> int | None:
    """Where a page begins.  Raises `Fault` for a token that no list gave out."""
    if not token:
        return None
    if not (token.isascii() and token.isdecimal() and len(token) < 20 and int(token) <= MAX_INTEGER):
        raise invalid("BAD_PAGE_TOKEN", "page_token is not one that this list gave out", "page_token")
    return int(token)


def cut(page: list[tuple[int, T]], size: int) -> tuple[list[T], str]:
    """A page and the next one's token.  One more than asked for was read, to know whether there is a next page."""
    shown = page[:size]
    return [entry for _, entry in shown], str(shown[-1][0]) if len(page) > size else ""
