"""Which receipts count: signed by whom it should be, split by a rule that is or was in force, and exactly so.  Pure.

A receipt does not say when it was made, and one may be read long after: so what it is split by may be any rule that the
ledger has published, however long ago, for the platform that it was published with.

What it does not know: whether the payer has the money (`lease.charge`), and whether the measurements in the receipt are
right; those anyone recomputes from the published artifacts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from openledger import names, receipt, split
from openledger.canonical import sha256
from openledger.receipt import Receipt


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
    published: frozenset[tuple[str, str]] = frozenset()
    """(SHA-256 of the rule, platform) of the terms before these."""

    @cached_property
    def platforms(self) -> dict[str, set[str]]:
        """Who the platform may be, by the SHA-256 of the rule."""
        found: dict[str, set[str]] = {self.rule.digest(): {self.platform}}
        for rule, platform in self.published:
            found.setdefault(rule, set()).add(platform)
        return found


def admit(document: bytes, terms: Terms) -> Admitted | Rejected:
    """Check a receipt's bytes.  Never raises for what is in them."""
    digest = sha256(document)
    try:
        found = receipt.parse(document)
    except (ValueError, RecursionError) as error:
        return Rejected(digest, "", "", "UNREADABLE", _text(str(error)), document)
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


def admit_all(documents: Iterable[bytes], terms: Terms) -> list[Admitted | Rejected]:
    """`admit` for each."""
    return [admit(document, terms) for document in documents]


def _names(found: Receipt, _: Terms) -> None:
    names.account_address(found.payer)
    names.address(found.platform)
    if found.developer:
        names.address(found.developer)
    names.match("leases/*", found.lease)
    if found.model.adapter != "":
        names.match("adapters/*/revisions/*", found.model.adapter)


def _signer(found: Receipt, terms: Terms) -> None:
    if found.signer not in terms.signers:
        raise ValueError(f"{found.signer} is not one of the signers whose receipts count here")
    receipt.check_signature(found)


def _rule(found: Receipt, terms: Terms) -> None:
    if found.rule.digest() not in terms.platforms:
        raise ValueError(
            f"split by rule {found.rule.digest()}, which was never published here; in force is {terms.rule.digest()}"
        )


def _platform(found: Receipt, terms: Terms) -> None:
    if names.address(found.platform) not in terms.platforms[found.rule.digest()]:
        raise ValueError(f"the platform's fee would go to {found.platform}, not to {terms.platform}")


def _split(found: Receipt, _: Terms) -> None:
    receipt.check_split(found)


_CHECKS = (
    ("BAD_NAMES", _names),
    ("BAD_SIGNATURE", _signer),
    ("WRONG_RULE", _rule),
    ("WRONG_PLATFORM", _platform),
    ("WRONG_SPLIT", _split),
)


def _text(value: object) -> str:
    """What can be kept of a text that anybody may have written: short, and without NUL, which PostgreSQL refuses."""
    return value.replace("\0", "")[:1000] if isinstance(value, str) else ""
