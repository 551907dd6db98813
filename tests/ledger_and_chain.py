"""That a ledger's database and the chain say the same: events, money, roots, nonces.  Asks both, believes neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.kit.database import Database
from services.ledger import check, journal
from services.ledger.chain import Claimed, Deposit, Withdrawal
from services.ledger.chain_rpc import RpcChain
from services.ledger.store import books, epochs, events, payers
from services.ledger.store.epochs import State
from services.ledger.store.tables import TRANSACTION
from tests.books_world import every_posting


@dataclass
class Agreement:
    """`sender`: the account by which the ledger sends; `fees`: what each payer's answers cost, as the test knows it."""

    database: Database
    chain: RpcChain
    sender: str
    fees: Mapping[str, int]
    confirmations: int = 0

    def everything(self) -> None:
        """Fails where they differ."""
        self._events()
        for payer in self.fees:
            self._payer(payer)
        self._roots()
        self._transactions()
        assert self._read(check.check).ok
        sums = self._read(lambda c: journal.conservation(every_posting(c)))
        assert (sums.difference, sums.trial_balance, sums.fees) == (0, 0, sum(self.fees.values()))

    def _read(self, query: Any) -> Any:
        return self.database.read_now(query)

    def _balance(self, name: str) -> int:
        return int(self._read(lambda c: books.book(c, name)).balance)

    def _events(self) -> None:
        """What the chain tells stands in the books, each once, and nothing else does."""
        chain, start = self.chain, self.chain.contracts.block
        deep = chain.head().number - self.confirmations
        sources = chain.deposits, chain.withdrawals, chain.redemptions, chain.claims
        told = [event for source in sources for event in source(start, deep)]
        noted = self._read(lambda c: events.after(c, -1))
        here = {(e.block, e.log_index, e.block_hash) for e in noted}
        there = {(e.block_number, e.log_index, e.block_hash) for e in told}
        assert here == there, (here - there, there - here, chain.head())
        came = sum(event.amount for event in told if isinstance(event, Deposit))
        went = sum(event.amount for event in told if isinstance(event, Withdrawal) and event.paid)
        assert self._balance(journal.ESCROW) == went - came
        claimed: Counter[str] = Counter()
        for event in told:
            if isinstance(event, Claimed):
                claimed[event.account] += event.amount
        assert self._balance(journal.CLAIMED) == claimed.total() == chain.total_claimed()
        for who, amount in claimed.items():
            assert self._read(lambda c, w=who: books.book(c, journal.payable(w))).debits == amount

    def _payer(self, who: str) -> None:
        chain, spent = self.chain, self.fees[who]
        here = self._read(lambda c: payers.get(c, who))
        assert here.spent == spent
        if not self._balance(journal.SHORTFALL):
            assert here.balance == chain.balance(who) + chain.spent(who) - spent
        asked, _ = chain.read("InferenceEscrow", chain.contracts.escrow, "withdrawals", who)
        assert here.withdrawing == asked
        owing = self._read(lambda c: payers.unredeemed_of(c, who))
        assert (owing is not None) == (chain.spent(who) != spent)
        debt = self._read(events.debts).get(who, 0)
        assert debt == max(0, -here.balance)

    def _roots(self) -> None:
        newest = self._read(lambda c: epochs.newest(c, State.ACTIVE))
        assert self.chain.last_epoch() == (newest.number if newest else 0)
        for epoch in self._read(lambda c: epochs.page(c, None, 3)):
            found = self.chain.epoch(epoch.number)
            if epoch.state is State.VETOED:
                assert found is None
                continue
            assert found is not None
            assert (found.root.hex(), found.cumulative_total) == (epoch.root, epoch.total)

    def _transactions(self) -> None:
        """Each nonce is used once, none is left out, and each transaction is where it is noted."""
        rows = self._read(lambda c: c.execute(TRANSACTION.select()).all())
        used = sorted(row.nonce for row in rows if row.nonce is not None)
        assert len(used) == len(set(used))
        if used:
            assert self.chain.nonce(self.sender) == used[-1] + 1
        for row in rows:
            if row.block is not None:
                receipt = self.chain.receipt(row.hash)
                assert receipt is not None
                noted = row.block, row.block_hash, row.state == "final"
                seen = receipt.block_number, receipt.block_hash, receipt.succeeded
                assert noted == seen, (row.key, self.chain.block(row.block), self.chain.head())
