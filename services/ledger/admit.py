"""Which receipts count: signed by whom it should be, split by a rule that is or was in force, and exactly so.  Pure.

A receipt may be read long after it was made: so what it is split by may be any rule that the ledger has published,
however long ago, for the platform that it was published with.  The parts of developer and stakers are the exception,
where the revision that answered is registered on chain: they are those that held for it there when the answer ended.

What it does not know: whether the payer has the money (`lease.charge`), and whether the measurements in the receipt are
right; those anyone recomputes from the published artifacts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from openledger import names, receipt, split
from openledger.canonical import sha256
from openledger.receipt import Receipt
from services.ledger import splits
from services.ledger.registries import Split
from services.ledger.splits import UNREGISTERED, Held

_Rest = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Candidate:
    """A receipt as it came: its bytes, and what they say; None where that cannot be read, and why."""

    document: bytes
    receipt: Receipt | None
    error: str = ""


@dataclass(frozen=True)
class Admitted:
    """A receipt that may be journaled."""

    receipt: Receipt
    sha256: str
    document: bytes


@dataclass(frozen=True)
class Rejected:
    """A receipt that may not; `reason` is UPPER_SNAKE.  `response` and `payer` are empty where it names none."""

    sha256: str
    response: str
    payer: str
    reason: str
    message: str
    document: bytes


@dataclass(frozen=True)
class Terms:
    """What a receipt must agree with.  Addresses are lower-case."""

    signers: frozenset[str]
    rule: split.Rule
    platform: str
    published: frozenset[tuple[split.Rule, str]] = frozenset()
    """(rule, platform) of the terms before these."""
    held: Callable[[str], Sequence[Held]] = lambda _: UNREGISTERED
    """What held of a revision's splits, oldest first."""
    lag: int = 0
    """Seconds around a change of a split in which either may be the one."""
    now: float = float("inf")
    """Unix seconds by this machine's clock."""
    newest: float = 0
    """Unix seconds of the chain's newest block: the other clock, which says when this one is behind."""

    @property
    def far(self) -> float:
        """An answer that ends later than this has not ended by any clock that is nearly right; Unix seconds."""
        return max(self.now, self.newest) + self.lag

    @cached_property
    def whole(self) -> dict[split.Rule, set[str]]:
        """Who the platform may be, by the rule."""
        found: dict[split.Rule, set[str]] = {self.rule: {self.platform}}
        for rule, platform in self.published:
            found.setdefault(rule, set()).add(platform)
        return found

    @cached_property
    def rest(self) -> dict[_Rest, set[str]]:
        """The same, by the rule without what it gives to developer and stakers."""
        found: dict[_Rest, set[str]] = {}
        for rule, platforms in self.whole.items():
            found.setdefault(_without_split(rule), set()).update(platforms)
        return found

    def allowed(self, found: Receipt) -> list[Held]:
        """The splits by which the answer may be paid."""
        held = self.held(found.model.adapter) if by_history(found) else UNREGISTERED
        return splits.allowed(held, found.ended, self.lag)

    def platforms(self, found: Receipt) -> set[str]:
        """Who the platform may be of a receipt; nobody, where it is by none of the splits that are allowed."""
        parts, who = Split(found.rule.developer_bps, found.rule.stakers_bps), set[str]()
        for held in self.allowed(found):
            if held.since is None:
                who |= self.whole.get(found.rule, set())
            elif held.since.split == parts:
                who |= self.rest.get(_without_split(found.rule), set())
        return who


def read(document: bytes) -> Candidate:
    """What a receipt's bytes say.  Never raises for what is in them."""
    try:
        return Candidate(document, receipt.parse(document))
    except (ValueError, RecursionError) as error:
        return Candidate(document, None, str(error))


def by_history(found: Receipt) -> bool:
    """Whether a receipt is by what held of its revision's splits.

    Not of the base model's answers, nor of before version 6, when receipts did not say when their answers ended.
    """
    return bool(found.model.adapter) and found.ended is not None


def far(candidate: Candidate, terms: Terms) -> bool:
    """Whether its answer ends so late that one of two clocks is wrong."""
    found = candidate.receipt
    return found is not None and found.ended is not None and found.ended > terms.far


def waits(candidate: Candidate, terms: Terms, *, known: bool) -> bool:
    """Whether it is too early to judge a receipt.

    Its answer ends later than now, or it is by what held of its revision's splits and that is not `known`.  One that
    could only be refused, whatever becomes known, does not wait.
    """
    found = candidate.receipt
    if found is None or found.ended is None or far(candidate, terms) or _problem(_named_signer, found, terms):
        return False
    return found.ended > terms.now or (by_history(found) and not known)


def admit(candidate: Candidate, terms: Terms) -> Admitted | Rejected:
    """Check a receipt.  Never raises for what is in it."""
    document, found = candidate.document, candidate.receipt
    digest = sha256(document)
    if found is None:
        return Rejected(digest, "", "", "UNREADABLE", _text(candidate.error), document)
    for reason, check in _CHECKS:
        problem = _problem(check, found, terms)
        if problem:
            return Rejected(digest, found.response, _text(found.payer), reason, _text(problem), document)
    return Admitted(found, digest, document)


def _problem(check: Callable[[Receipt, Terms], None], found: Receipt, terms: Terms) -> str:
    """What a check finds wrong; empty if nothing.  Fields of the wrong kind are as wrong as wrong values."""
    try:
        check(found, terms)
    except (ValueError, TypeError, AttributeError) as error:
        return str(error) or type(error).__name__
    return ""


def _names(found: Receipt, _: Terms) -> None:
    names.account_address(found.payer)
    names.address(found.platform)
    if found.developer:
        names.address(found.developer)
    names.match("leases/*", found.lease)
    if found.model.adapter != "":
        names.match("adapters/*/revisions/*", found.model.adapter)


def _named_signer(found: Receipt, terms: Terms) -> None:
    if found.signer not in terms.signers:
        raise ValueError(f"{found.signer} is not one of the signers whose receipts count here")


def _signer(found: Receipt, terms: Terms) -> None:
    _named_signer(found, terms)
    receipt.check_signature(found)


def _ended(found: Receipt, terms: Terms) -> None:
    if found.ended is not None and found.ended > terms.far:
        raise ValueError(f"the answer is to end in the future, {found.end_time}: a clock is wrong")


def _rule(found: Receipt, terms: Terms) -> None:
    own = all(held.since is None for held in terms.allowed(found))
    if not (found.rule in terms.whole if own else _without_split(found.rule) in terms.rest):
        raise ValueError(
            f"split by rule {found.rule.digest()}, which was never published here; in force is {terms.rule.digest()}"
        )


def _in_force(found: Receipt, terms: Terms) -> None:
    if not terms.platforms(found):
        ended = f"when the answer ended, {found.end_time}" if found.end_time else "at any time"
        raise ValueError(
            f"split with {found.rule.developer_bps} and {found.rule.stakers_bps} basis points for developer and "
            f"stakers, which did not hold for {found.model.adapter} {ended}: what held is "
            + " or ".join(map(_held, terms.allowed(found)))
        )


def _held(held: Held) -> str:
    if held.since is None:
        return "this ledger's own split"
    parts, since = held.since.split, datetime.fromtimestamp(held.since.time, UTC).isoformat()
    return f"{parts.developer_bps} and {parts.stakers_bps} since {since} (block {held.since.block})"


def _without_split(rule: split.Rule) -> _Rest:
    return tuple(item for item in vars(rule).items() if item[0] not in {"developer_bps", "stakers_bps"})


def _platform(found: Receipt, terms: Terms) -> None:
    if names.address(found.platform) not in terms.platforms(found):
        raise ValueError(f"the platform's fee would go to {found.platform}, not to {terms.platform}")


def _split(found: Receipt, _: Terms) -> None:
    receipt.check_split(found)


_CHECKS = (
    ("BAD_NAMES", _names),
    ("BAD_SIGNATURE", _signer),
    ("NOT_ENDED", _ended),
    ("WRONG_RULE", _rule),
    ("SPLIT_NOT_IN_FORCE", _in_force),
    ("WRONG_PLATFORM", _platform),
    ("WRONG_SPLIT", _split),
)


def _text(value: object) -> str:
    """What can be kept of a text that anybody may have written: short, and without NUL, which PostgreSQL refuses."""
    return value.replace("\0", "")[:1000] if isinstance(value, str) else ""
