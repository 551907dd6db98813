"""The terms of payment from the ledger: the split in force and who the platform is.  Cached for a short time."""

from __future__ import annotations

import time
from typing import Any, Protocol

from openledger import names
from openledger.client import Client
from openledger.ledger.v1 import ledger_pb2
from openledger.split import Rule
from services.attribution.score import Terms


class BadTerms(RuntimeError):
    """The ledger states a rule that is not the one that it names.  No receipt is made until that is resolved."""


class TermsSource(Protocol):
    """Where terms come from."""

    async def current(self) -> Terms:
        """The terms in force.  Raises `ApiError` or `BadTerms`."""


class LedgerTerms:
    """Terms as the ledger states them.

    When it cannot be asked there are none: a receipt by an old rule is worth less than a late one, and the traces wait
    in OpenLoRA's log.
    """

    def __init__(self, ledger: Client, seconds: float) -> None:
        self._ledger, self._seconds = ledger, seconds
        self._terms: Terms | None = None
        self._asked = float("-inf")

    async def current(self) -> Terms:
        """See `TermsSource.current`."""
        if self._terms is None or time.monotonic() - self._asked > self._seconds:
            request = ledger_pb2.GetSettlementInfoRequest()
            self._terms = read_terms(await self._ledger.call(self._ledger.ledger.GetSettlementInfo, request, 10))
            self._asked = time.monotonic()
        return self._terms


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
