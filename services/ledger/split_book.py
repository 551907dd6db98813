"""What is known here of revisions' splits, and whether that is all that counts: for whoever pays by them.

Splits are told only while the chain was read lately: a change that is not known yet would be paid by the split before
it, and an answer so paid could be refused later.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from openledger import names
from openledger.ledger.v1 import ledger_pb2
from openledger.split import Rule
from services.kit.database import Database
from services.kit.errors import Fault, unavailable
from services.ledger import splits, wire
from services.ledger.reports import MOST, PAGE, page_place
from services.ledger.splits import Held
from services.ledger.store import chain as followed
from services.ledger.store import splits as store


class SplitBook:
    """Reads, and nothing else.

    `contract`: under which what was followed of the chain is stored.  `lag`: seconds around a change in which answers
    may be paid by either split; half of it is how long ago the chain may have been read, the rest is for blocks to
    count, for whoever holds what it was told, and for clocks.
    """

    def __init__(self, database: Database, contract: str, rule: Rule, *, lag: int) -> None:
        self._database, self._contract, self._rule, self.lag = database, contract, rule, lag

    def knows(self, connection: Connection) -> bool:
        """Whether everything that counts was read lately."""
        return read_lately(connection, self._contract, self.lag)

    async def at(self, revision: str, when: int) -> ledger_pb2.SplitVersion:
        """The split of answers that ended then.  Raises `Fault`."""
        held = await self._known(revision)
        return wire.split_version(revision, splits.at(held, when), self._rule)

    async def page(self, revision: str, size: int, token: str) -> ledger_pb2.ListSplitsResponse:
        """Those that were registered or made to hold, oldest first.  Raises `Fault`."""
        place, limit = page_place(token, 1), min(size or PAGE, MOST)
        begin = 1 + (place[0] if place else 0)  # before the first one, this ledger's own split held
        held = await self._known(revision)
        response = ledger_pb2.ListSplitsResponse(
            splits=[wire.split_version(revision, one, self._rule) for one in held[begin : begin + limit]]
        )
        if len(held) > begin + limit:
            response.next_page_token = str(begin + limit - 1)
        return response

    async def _known(self, revision: str) -> Sequence[Held]:
        found = await self._database.read(lambda c: history(c, revision) if self.knows(c) else None)
        if found is None:
            raise not_read()
        return found


def read_as_of(connection: Connection, contract: str, lag: int) -> int | None:
    """After how many times that the chain took blocks back that is so; None where it is not.

    What was found by what was read then is so for as long as this stays the same.
    """
    return followed.take_backs(connection, contract) if read_lately(connection, contract, lag) else None


def read_lately(connection: Connection, contract: str, lag: int) -> bool:
    """Whether everything that counts was read within half of the lag; not, where a clock that was ahead says so."""
    read = followed.read_time(connection, contract)
    return read is not None and abs(time.time() - read) <= lag / 2


def history(connection: Connection, revision: str) -> Sequence[Held]:
    """What held of a revision's splits, oldest first."""
    digest = names.match("adapters/*/revisions/*", revision)[1]
    return splits.history(store.of(connection, digest))


def not_read() -> Fault:
    """The chain was not read lately."""
    return unavailable(
        "CHAIN_NOT_READ",
        "the chain was not read to its end lately, so that a change of a split may be missing here: ask again",
        retry_after=5,
    )
