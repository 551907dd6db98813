"""The terms of payment from the ledger: the rule in force, each revision's own split, and who the platform is.

Cached for a short time.  Which of a revision's splits holds is decided by when the answer ended and not by when it is
measured: whoever has the receipt finds the same one on chain.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

from openledger import names
from openledger.client import Client
from openledger.ledger.v1 import ledger_pb2
from openledger.split import BASIS_POINTS, Rule
from openledger.trace import unix_seconds
from services.attribution.score import Terms

MOST_REVISIONS = 1_000
"""Whose splits are held."""
_PATIENCE = 10.0


class BadTerms(RuntimeError):
    """The ledger states a rule that is not the one that it names.  No receipt is made until that is resolved."""


class TermsSource(Protocol):
    """Where terms come from."""

    async def of(self, adapter: str, end_time: str) -> Terms:
        """The terms of an answer that ended then, by that adapter revision; by the base model alone where it is empty.

        end_time: as traces write it.  Raises `ApiError`, `BadTerms`, and `ValueError` for what is no such time.
        """


@dataclass(frozen=True)
class Held:
    """A split as the ledger tells it: from when to when it holds (Unix seconds; None: always), and when it was told.

    `parts`: developer's and stakers' basis points, None where the rule in force says them.
    """

    start: int | None
    end: int | None
    parts: tuple[int, int] | None
    told: float

    def holds(self, at: int) -> bool:
        """Whether it is the one of answers that ended then."""
        return (self.start is None or self.start <= at) and (self.end is None or at < self.end)


class LedgerTerms:
    """Terms as the ledger states them.

    When it cannot be asked there are none: a receipt by an old rule is worth less than a late one, and the traces wait
    in OpenLoRA's log.
    """

    def __init__(self, ledger: Client, seconds: float) -> None:
        self._ledger, self._seconds = ledger, seconds
        self._terms: Terms | None = None
        self._asked = float("-inf")
        self._splits: dict[str, Held] = {}

    async def current(self) -> Terms:
        """The terms in force, for whom no split of its own is registered.  Raises `ApiError` or `BadTerms`."""
        if self._terms is None or time.monotonic() - self._asked > self._seconds:
            request = ledger_pb2.GetSettlementInfoRequest()
            self._terms = read_terms(await self._ledger.call(self._ledger.ledger.GetSettlementInfo, request, _PATIENCE))
            self._asked = time.monotonic()
        return self._terms

    async def of(self, adapter: str, end_time: str) -> Terms:
        """See `TermsSource.of`."""
        current, at = await self.current(), unix_seconds(end_time)
        if not adapter:
            return current
        held = self._splits.get(adapter)
        if held is None or not held.holds(at) or time.monotonic() - held.told > self._seconds:
            held = await self._ask(adapter, at)
        return _with_split(current, held)

    async def _ask(self, adapter: str, at: int) -> Held:
        request = ledger_pb2.GetSplitRequest(revision=adapter)
        request.time.FromSeconds(at)
        told = await self._ledger.call(self._ledger.ledger.GetSplit, request, _PATIENCE)
        found = read_split(told, time.monotonic())
        if len(self._splits) >= MOST_REVISIONS:
            self._splits.clear()
        self._splits[adapter] = found
        return found


def read_terms(info: Any) -> Terms:
    """The terms in a `SettlementInfo`.  Raises `BadTerms`."""
    try:
        rule = Rule(**{name: getattr(info.rule, name) for name in Rule().to_json()})
        platform = names.account_address(info.platform)
    except ValueError as error:
        raise BadTerms(f"the ledger's settlement info cannot be used: {error}") from error
    if rule.digest() != info.rule.sha256:
        raise BadTerms(f"the ledger names rule {info.rule.sha256}, its parameters are those of {rule.digest()}")
    return Terms(rule, platform)


def read_split(version: Any, told: float) -> Held:
    """What a `SplitVersion` says; `told`: when, by the monotonic clock.  Raises `BadTerms`."""
    split = version.split
    if split.developer_bps + split.stakers_bps + split.contributors_bps != BASIS_POINTS:
        raise BadTerms(f"the ledger states a split of {version.revision} that is not of {BASIS_POINTS} basis points")
    return Held(
        version.start_time.ToSeconds() if version.HasField("start_time") else None,
        version.end_time.ToSeconds() if version.HasField("end_time") else None,
        (split.developer_bps, split.stakers_bps) if version.HasField("start_time") else None,
        told,
    )


def _with_split(terms: Terms, held: Held) -> Terms:
    """The terms with that split in their rule."""
    if held.parts is None:
        return terms
    return replace(terms, rule=replace(terms.rule, developer_bps=held.parts[0], stakers_bps=held.parts[1]))
