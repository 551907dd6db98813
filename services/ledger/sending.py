"""What must be so before the relayer sends somebody's OPEN on: signed for, and as much as was ever claimed for them.

Earnings are claimed to the account by anybody who asks the distributor.  An account that is a key without ether could
not move them from there.  Whoever has ether needs no relayer, and OPEN that goes round between accounts would be gas
without end: so what is sent on for an account, all together, is no more than was claimed for it.
"""

from __future__ import annotations

from sqlalchemy import Connection

from openledger import canonical, spending
from openledger.money import format_open
from openledger.spending import Transfer
from services.kit.errors import invalid, precondition
from services.ledger import journal
from services.ledger.chain import Chain
from services.ledger.store import books
from services.ledger.store import chain as store

_NOBODY = "0x" + "0" * 40


def key(transfer: Transfer, signature: bytes) -> str:
    """Of its transaction: one for one signature, however many ask for it."""
    return f"{_of(transfer.payer)}{transfer.amount}/{canonical.sha256(signature)}"


def check(chain: Chain, transfer: Transfer, signature: bytes) -> None:
    """Raises `Fault` unless the payer's key signed this transfer, to somebody else."""
    if transfer.amount == 0:
        raise invalid("NOTHING_TO_SEND", "amount: a transfer of nothing", "amount")
    if transfer.to in (_NOBODY, transfer.payer):
        raise invalid("BAD_ADDRESS", "to: the zero address, or where the OPEN is already", "to")
    if len(transfer.nonce) != 32:
        raise invalid("BAD_NONCE", "nonce: must be 32 bytes, never used before", "nonce")
    typed = spending.open_transfer_message(chain.chain_id, chain.contracts.token, transfer)
    if spending.signer(typed, signature) != transfer.payer:
        raise invalid(
            "BAD_SIGNATURE",
            f"signature: is not one of accounts/{transfer.payer} over this TransferWithAuthorization, in its one "
            "spelling",
            "signature",
        )


def check_claimed(connection: Connection, account: str) -> None:
    """Raises `Fault` when more is sent on for the account than was claimed for it.  Call it once that is planned."""
    prefix = _of(account)
    keys = store.keys(connection, prefix)
    sent = sum(int(one.removeprefix(prefix).partition("/")[0]) for one in keys)
    claimed = books.book(connection, journal.payable(account)).debits
    if sent > claimed:
        raise precondition(
            "MORE_THAN_CLAIMED",
            f"the relayer sends on what was claimed for accounts/{account}, {format_open(claimed)} OPEN in all, and "
            f"with this it would be {format_open(sent)}: send less, or send the transaction yourself",
            claimed=str(claimed),
        )


def _of(account: str) -> str:
    """What the keys of its transfers begin with."""
    return f"transfer:{account}/"
