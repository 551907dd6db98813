"""What the books make of an event of the chain: a journal, or a note of what holds from then on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from services.ledger import journal, replay
from services.ledger.chain import Claimed, Deposit, Redeemed, SplitHolds, Withdrawal
from services.ledger.journal import Event, Journal, Kind
from services.ledger.store import epochs, events, payers, splits
from services.ledger.store.epochs import UNDONE
from services.ledger.store.events import Told

ChainEvent = Deposit | Withdrawal | Redeemed | Claimed | SplitHolds


def take(connection: Connection, event: ChainEvent) -> None:
    """Journal or note an event, once."""
    at = Event(event.block_hash, event.tx_hash, event.log_index)
    match event:
        case Deposit():
            _tell(connection, event, event.payer, journal.deposit(at, event.payer, event.amount))
        case Claimed():
            _tell(connection, event, event.account, journal.claim(at, event.account, event.amount))
        case Redeemed():
            events.keep(connection, _told(event, event.payer, redeemed=event.cumulative))
            payers.lock(connection, event.payer)
            payers.set_redeemed(connection, event.payer, events.redeemed(connection, event.payer))
        case SplitHolds():
            splits.keep(connection, event)
            events.keep(connection, _told(event, event.revision))
        case Withdrawal(paid=False):
            events.keep(connection, _told(event, event.payer, withdrawing=event.amount))
            payers.lock(connection, event.payer)
            payers.set_withdrawing(connection, event.payer, events.withdrawing(connection, event.payer))
        case Withdrawal():
            payer = payers.lock(connection, event.payer)
            entry = journal.withdrawal(at, event.payer, event.amount, max(0, payer.balance))
            _tell(connection, event, event.payer, entry, withdrawing=0)
            payers.set_withdrawing(connection, event.payer, events.withdrawing(connection, event.payer))


def _tell(connection: Connection, event: ChainEvent, account: str, entry: Journal, **more: int) -> None:
    # How a withdrawal was covered is known from the first telling; told again, its payer may have another balance.
    if entry.kind is not Kind.WITHDRAWAL or not replay.stands(connection, entry.key):
        replay.tell(connection, entry)
    events.keep(connection, _told(event, account, journal=entry.key, **more))


def _told(event: ChainEvent, account: str, **more: Any) -> Told:
    return Told(event.block_number, event.log_index, event.block_hash, account, **more)


def redeem_again(connection: Connection, account: str) -> None:
    """Redemptions went: they are made again, each on its own, if an epoch's root needs them."""
    payers.set_redeemed(connection, account, events.redeemed(connection, account))
    if line := payers.unredeemed_of(connection, account):
        epochs.plan_again(connection, UNDONE, line)
