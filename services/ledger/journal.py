"""Double entry: what happened to money, as journals whose postings sum to zero.  Pure; integers only.

Books and their signs: money that came in stands negative in `chain:escrow`; what is owed to somebody is positive.

    deposit      chain:escrow -a      payer:{address} +a
    inference    payer:{address} -fee, and +share: payable:{address} of platform, developer and whose records stood
                 before the question, held:{base|stakers}, held:unattributed of what those records did not earn one
                 by one, and what belongs to the data in pool:{revision}, until the epoch's answers are settled together
    settlement   pool:{revision} -a      +share in payable:{address} or held:unattributed
    claim        payable:{address} -a     chain:claimed +a
    withdrawal   payer:{address} -a       chain:escrow +a
    void         the contrary of one of the chain's, which the chain took back
    correction   the contrary of an answer's, which an operator took back

A journal is never changed.  Its key says which event it tells of, so that telling twice has one effect.  What this does
not know: balances, leases, and whether a receipt is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from openledger import canonical, names, split
from openledger.receipt import Receipt

ESCROW, CLAIMED, SHORTFALL = "chain:escrow", "chain:claimed", "chain:shortfall"
PAYER, PAYABLE, HELD, POOL = "payer:", "payable:", "held:", "pool:"


class Kind(StrEnum):
    """What a journal tells of."""

    DEPOSIT = "deposit"
    INFERENCE = "inference"
    SETTLEMENT = "settlement"
    CLAIM = "claim"
    WITHDRAWAL = "withdrawal"
    VOID = "void"
    CORRECTION = "correction"


UNDOING = frozenset({Kind.VOID, Kind.CORRECTION})
"""They take from the side of a book to which what they undo had added."""


class Unbalanced(AssertionError):
    """Postings that do not sum to zero: a fault in this program, never in its input."""


@dataclass(frozen=True)
class Event:
    """Where on the chain something happened.  `block_hash` and `log_index` are its identity."""

    block_hash: str
    tx_hash: str
    log_index: int


@dataclass(frozen=True)
class Journal:
    """One event's postings: book to signed atomic units, none of them zero, the sum zero.

    `key` is the event's identity, `payload_sha256` its content: the same key with another content is an alarm.
    `cause` is for people: a response, a transaction.
    """

    kind: Kind
    key: str
    payload_sha256: str
    cause: str
    postings: Mapping[str, int]

    def __post_init__(self) -> None:
        if sum(self.postings.values()) != 0:
            raise Unbalanced(f"the postings of {self.key} sum to {sum(self.postings.values())}")
        if not all(self.postings.values()):
            raise Unbalanced(f"{self.key} has a posting of nothing")


def payer(address: str) -> str:
    """The book of what an account brought in and has not spent."""
    return PAYER + address


def payable(address: str) -> str:
    """The book of what an account earned and has not claimed."""
    return PAYABLE + address


def held(key: str) -> str:
    """The book of a share that belongs to no address."""
    return HELD + key


def pool(model: str) -> str:
    """The book of what belongs to the data of an adapter revision and is not settled; of the base model for ""."""
    return POOL + (model or split.BASE)


def inference_key(response: str) -> str:
    """The key of the one journal that an answer can have."""
    return f"{Kind.INFERENCE}:{response}"


def deposit(at: Event, account: str, amount: int) -> Journal:
    """Money that came into escrow for `account`."""
    return _of_chain(Kind.DEPOSIT, at, {ESCROW: -amount, payer(account): amount})


def claim(at: Event, account: str, amount: int) -> Journal:
    """What the chain paid `account` of what it had earned."""
    return _of_chain(Kind.CLAIM, at, {payable(account): -amount, CLAIMED: amount})


def withdrawal(at: Event, account: str, amount: int, unspent: int) -> Journal:
    """What went from escrow back to `account`, which has `unspent` here.

    More than that left only if the chain paid out what was spent and not redeemed in time: then the rest is a loss, and
    stands in `chain:shortfall` for everybody to see.
    """
    covered = min(amount, unspent)
    postings = {payer(account): -covered, SHORTFALL: covered - amount, ESCROW: amount}
    return _of_chain(Kind.WITHDRAWAL, at, {book: value for book, value in postings.items() if value})


def void(entry: Journal) -> Journal:
    """The contrary of an event that is no longer part of the chain.

    It takes from the side of a book that the event added to, so that nobody seems to have earned or claimed what never
    happened.  A payer that has spent a deposit by then is left with less than nothing, until the deposit comes again.
    """
    postings = {book: -amount for book, amount in entry.postings.items()}
    content = {"void": entry.key, "payload": entry.payload_sha256}
    return Journal(Kind.VOID, f"{Kind.VOID}:{entry.key}", canonical.digest(content), entry.cause, postings)


def correction(entry: Journal, document_sha256: str) -> Journal:
    """The contrary of a journal that an operator took back, by the signed document of that hash."""
    postings = {book: -amount for book, amount in entry.postings.items()}
    return Journal(Kind.CORRECTION, f"{Kind.CORRECTION}:{entry.key}", document_sha256, entry.cause, postings)


def inference(receipt: Receipt, digest: str = "") -> Journal:
    """The fee of one answer: final for platform, developer, stakers, base, and records before the question.

    The money of the training data waits in its pool.

    `digest`: the receipt's, where it is known already; to compute it takes longer than all of the rest.
    """
    postings: dict[str, int] = {}
    for key, amount in receipt.shares.items():
        book = _book_of(key, receipt)
        postings[book] = postings.get(book, 0) + amount
    postings[payer(names.account_address(receipt.payer))] = -receipt.fee
    return Journal(
        Kind.INFERENCE,
        inference_key(receipt.response),
        digest or receipt.digest(),
        receipt.response,
        {book: amount for book, amount in postings.items() if amount},
    )


def settlement(name: str, model: str, amounts: Mapping[str, int]) -> Journal:
    """What a model's pool became: `amounts` by address and `unattributed`.  `name`: "epoch.attempt"."""
    postings = {held(who) if who == split.UNATTRIBUTED else payable(who): amount for who, amount in amounts.items()}
    postings[pool(model)] = -sum(amounts.values())
    content = {book: str(amount) for book, amount in postings.items()}
    key = f"{Kind.SETTLEMENT}:{name}:{model or split.BASE}"
    return Journal(Kind.SETTLEMENT, key, canonical.digest(content), model or split.BASE, postings)


def _book_of(key: str, receipt: Receipt) -> str:
    if key.startswith(f"{split.RETRIEVAL}:"):
        who = split.payee(key)
        return payable(who) if who else held(split.UNATTRIBUTED)
    if key == split.PLATFORM:
        return payable(names.address(receipt.platform))
    if key == split.DEVELOPER:
        # The base model alone has no developer here: that part is kept with the base model's.
        return payable(names.address(receipt.developer)) if receipt.developer else held(split.BASE)
    return held(key) if key in (split.BASE, split.STAKERS) else pool(receipt.model.adapter)


def _of_chain(kind: Kind, at: Event, postings: Mapping[str, int]) -> Journal:
    content = {"tx": at.tx_hash, **{book: str(amount) for book, amount in postings.items()}}
    key = f"{kind}:{at.block_hash}:{at.log_index}"
    return Journal(kind, key, canonical.digest(content), at.tx_hash, postings)


@dataclass(frozen=True)
class Conservation:
    """fees = paid + held + difference; `trial_balance` is the sum of every posting.  The last two are zero.

    `pooled` is the part of `held` that waits for its epoch to be settled.
    """

    fees: int
    paid: int
    held: int
    pooled: int
    trial_balance: int

    @property
    def difference(self) -> int:
        """What is not accounted for."""
        return self.fees - self.paid - self.held

    def __add__(self, other: Conservation) -> Conservation:
        """The sums over the postings of both."""
        return Conservation(
            self.fees + other.fees,
            self.paid + other.paid,
            self.held + other.held,
            self.pooled + other.pooled,
            self.trial_balance + other.trial_balance,
        )


def conservation(postings: Iterable[tuple[str, str, int]]) -> Conservation:
    """The sums over (kind, book, amount) of every posting there is."""
    fees = paid = kept = pooled = trial = 0
    for kind, book, amount in postings:
        trial += amount
        if kind not in (Kind.INFERENCE, Kind.SETTLEMENT, Kind.CORRECTION):
            continue
        if book.startswith(PAYER):
            fees -= amount
        elif book.startswith(PAYABLE):
            paid += amount
        else:
            kept += amount
            pooled += amount if book.startswith(POOL) else 0
    return Conservation(fees, paid, kept, pooled, trial)
