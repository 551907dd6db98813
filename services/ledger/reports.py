"""What people ask about their money: balances, journal lines, payouts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from openledger import names
from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.errors import Fault, invalid, not_found, precondition
from services.ledger import journal, wire
from services.ledger import lease as leases
from services.ledger.store import books, epochs, leaf_pages, payers, payouts, receipts_read
from services.ledger.store.books import Payout
from services.ledger.store.epochs import State
from services.ledger.store.payouts import Given

PAGE, MOST = 50, 1000


class Reports:
    """Reads, and nothing else.  `outlive`: seconds that an authorisation must still hold to be leased under."""

    def __init__(self, database: Database, *, outlive: int) -> None:
        self._database, self._outlive = database, outlive

    async def balance(self, address: str) -> ledger_pb2.Balance:
        """What an account has, may spend and has earned."""
        return await self._database.read(lambda c: self._balance(c, address))

    async def postings(self, address: str, size: int, token: str) -> ledger_pb2.ListPostingsResponse:
        """An account's journal lines, newest first."""
        place, limit = page_place(token, 2), min(size or PAGE, MOST)
        before = (place[0], place[1]) if place else None
        own = [journal.payer(address), journal.payable(address)]
        rows = await self._database.read(lambda c: books.lines_of(c, own, before, limit + 1))
        response = ledger_pb2.ListPostingsResponse()
        for row in rows[:limit]:
            response.postings.add(
                journal=f"journals/{row.journal}",
                kind=row.kind,
                book=row.book.partition(":")[0],
                amount=str(row.amount),
                cause=row.cause,
                create_time=wire.moment(row.create_time),
            )
        if len(rows) > limit:
            response.next_page_token = f"{rows[limit - 1].journal}-{rows[limit - 1].line}"
        return response

    async def epochs(self, size: int, token: str) -> ledger_pb2.ListEpochsResponse:
        """Epochs, newest first."""
        place, limit = page_place(token, 1), min(size or PAGE, MOST)
        found = await self._database.read(lambda c: epochs.page(c, place[0] if place else None, limit + 1))
        response = ledger_pb2.ListEpochsResponse(epochs=[wire.epoch(epoch) for epoch in found[:limit]])
        if len(found) > limit:
            response.next_page_token = str(found[limit - 1].number)
        return response

    async def given_by(self, epoch: int, size: int, after: str) -> ledger_pb2.ListEpochPayoutsResponse:
        """What an epoch gave, in the order of addresses.  `after`: the page token, an address."""
        limit = min(size or PAGE, MOST)
        try:
            after = names.address(after) if after else ""
        except ValueError:
            raise _bad_token() from None
        found, on = await self._database.read(lambda c: payouts.of_epoch(c, epoch, after, limit))
        return _given(found, on)

    async def given_to(
        self, account: str, epoch: int | None, size: int, token: str
    ) -> ledger_pb2.ListEpochPayoutsResponse:
        """What epochs, or that one, gave to an account, newest first."""
        place, limit = page_place(token, 1), min(size or PAGE, MOST)
        before = place[0] if place else None
        if epoch is not None:
            found, _ = await self._database.read(lambda c: payouts.of_account(c, account, epoch + 1, 1, 1))
            return _given([one for one in found if one.epoch == epoch], "")
        found, on = await self._database.read(lambda c: payouts.of_account(c, account, before, limit, payouts.EPOCHS))
        return _given(found, "" if on is None else str(on))

    async def payout(self, response: str) -> Payout | None:
        """How an answer's fee was divided, once it was."""
        return await self._database.read(lambda c: books.payout(c, response))

    async def no_payout(self, response: str, caller: str) -> Fault:
        """Why there is no payout to see.  A payer hears of a receipt that was refused."""
        refused = await self._database.read(lambda c: books.rejection(c, response))
        if refused is not None and caller and refused.payer == caller:
            return precondition(
                "RECEIPT_REJECTED",
                f"the receipt of {response} was not booked, nobody was charged: {refused.message}",
                why=refused.reason,
            )
        return not_found("PAYOUT_NOT_FOUND", f"no payout of {response} that concerns you was booked, or not yet")

    def _balance(self, connection: Connection, address: str) -> ledger_pb2.Balance:
        now = time.time()
        payer, read = payers.get(connection, address), receipts_read.until(connection, now)
        held = payers.open_leases(connection, address, read)
        earned = books.book(connection, journal.payable(address))
        paying = epochs.newest(connection, State.ACTIVE)
        settled = leaf_pages.around(connection, paying.number, address).get(address, 0) if paying else 0
        return ledger_pb2.Balance(
            account=f"accounts/{address}",
            deposited=str(payer.balance),
            authorised=str(payer.cap),
            spent=str(payer.spent),
            leased=str(leases.leased(held, read)),
            spendable=str(leases.spendable(payer, held, now, read, self._outlive)),
            earned=str(earned.credits),
            settled=str(settled),
            claimed=str(earned.debits),
        )


def _given(found: Sequence[Given], on: str) -> ledger_pb2.ListEpochPayoutsResponse:
    return ledger_pb2.ListEpochPayoutsResponse(payouts=map(wire.given, found), next_page_token=on)


def _bad_token() -> Fault:
    return invalid("BAD_PAGE_TOKEN", "page_token: not one that this method gave out", "page_token")


def page_place(token: str, parts: int) -> list[int]:
    """Where a page begins.  Raises `Fault` for a token that was not given out here."""
    if not token:
        return []
    found = token.split("-")
    if len(found) != parts or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in found):
        raise _bad_token()
    return [int(part) for part in found]
