"""A page of receipts as one change of the books: read at once, decided on one by one in memory, written at once.

Each decision sees what those before it did, so that a page comes out as if its receipts had been booked one at a time.
What it does not know: how to decide (`services.ledger.book`).  Everything happens in the caller's transaction, whose
lock of the books (`books.lock`) keeps what was read true until it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection

from services.ledger import journal
from services.ledger.journal import Journal
from services.ledger.lease import Lease, Payer
from services.ledger.store import books, payers, settlements
from services.ledger.store.books import Payout, Refused


class Batch:
    """What booking some receipts may look at, and what it has decided so far: inside `deciding`, which makes it so."""

    def __init__(
        self,
        connection: Connection,
        *,
        keys: Collection[str],
        addresses: Collection[str],
        leases: Collection[str],
        digests: Collection[str],
        read: float,
    ) -> None:
        """Reads the journals of `keys`, payers with their open leases, leases, and which of `digests` were refused.

        `read`: up to when receipts were read; by it leases reserve.
        """
        self._connection = connection
        self._first = books.next_number(connection)
        self._payloads = books.payloads(connection, keys)
        self._rejected = books.rejected(connection, digests)
        self._payers = payers.lock_all(connection, addresses)
        self._leases = {found.name: found for found in payers.leases(connection, leases, addresses, read)}
        self._of: dict[str, set[str]] = {}
        for found in self._leases.values():
            self._of.setdefault(found.payer, set()).add(found.name)
        self._journals: list[Journal] = []
        self._payouts: list[Payout] = []
        self._keep: Callable[[int, bytes], None]
        self._refused: list[Refused] = []
        self._charged: set[str] = set()
        self.read, self._late = read, set[str]()

    def payload_of(self, key: str) -> str | None:
        """The payload digest of the journal with that key."""
        return self._payloads.get(key)

    def payer(self, address: str) -> Payer:
        """One of the payers, as the decisions so far leave it."""
        return self._payers[address]

    def lease(self, name: str) -> Lease | None:
        """One of the leases, likewise."""
        return self._leases.get(name)

    def other_leases(self, lease: Lease, payer: str) -> Iterable[Lease]:
        """The payer's leases that may reserve something, without that one."""
        return [self._leases[name] for name in self._of.get(payer, ()) if name != lease.name]

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Decide on receipts, once; at the end all that was decided is written.

        Their documents, which are most of it, are on their way while the next receipt is decided on.
        """
        with settlements.keeping(self._connection) as self._keep:
            yield
        self._write()

    def charge(self, charged: Lease, entry: Journal, payout: Payout, document: bytes) -> None:
        """Book an answer: its lease as charged, its journal, and the receipt, with its document, that both are of."""
        payer = self._payers[payout.payer]
        if payout.fee > self._leases[charged.name].reserved(self.read):
            self._late.add(payout.payer)
        moved = entry.postings.get(journal.payer(payout.payer), 0)
        self._payers[payout.payer] = replace(payer, balance=payer.balance + moved, spent=payer.spent + payout.fee)
        self._leases[charged.name] = charged
        self._charged.add(charged.name)
        self._payloads[entry.key] = entry.payload_sha256
        self._keep(self._first + len(self._journals), document)
        self._journals.append(entry)
        self._payouts.append(payout)

    def reject(self, refused: Refused) -> bool:
        """Keep a receipt that is refused; says whether it is new."""
        if refused.sha256 in self._rejected:
            return False
        self._rejected.add(refused.sha256)
        self._refused.append(refused)
        return True

    def _write(self) -> None:
        first = books.post_all(self._connection, self._journals, self._debts())
        books.keep_receipts(self._connection, enumerate(self._payouts, first))
        books.reject(self._connection, self._refused)
        payers.save_leases(self._connection, [self._leases[name] for name in sorted(self._charged)])
        payers.set_all_spent(self._connection, self._spent())
        if self._late:  # paid from what leases that have run out had reserved
            payers.end_leases(self._connection, self._late, self.read)

    def _debts(self) -> Mapping[str, int]:
        """With how much less than nothing the decisions leave payers, by their books."""
        return {journal.payer(who): payer.balance for who, payer in self._payers.items() if payer.balance < 0}

    def _spent(self) -> Sequence[tuple[str, int]]:
        return [(address, self._payers[address].spent) for address in sorted({p.payer for p in self._payouts})]
