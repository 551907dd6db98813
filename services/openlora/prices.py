"""What answers cost, by model: the service's own price, and those that its operator has set for some models.

Pure.  A revision's own price goes before its adapter's, and that before the service's.
"""

from __future__ import annotations

from collections.abc import Mapping

from openledger import names
from openledger.money import Price
from services.openlora.adapters import BASE


class Prices:
    """`named` is by model: `base`, `adapters/{adapter}`, or `adapters/{adapter}/revisions/{digest}`."""

    def __init__(self, default: Price, named: Mapping[str, Price] | None = None) -> None:
        self._default, self._named = default, dict(named or {})

    def of(self, model: str) -> Price:
        """The price of a model's answers."""
        adapter = "/".join(model.split("/")[:2])
        return self._named.get(model) or self._named.get(adapter) or self._default

    def least(self, tokens_in: int, tokens_out: int) -> int:
        """What an answer of so many tokens costs where it is cheapest, in atomic units."""
        return min(price.fee(tokens_in, tokens_out) for price in self._all())

    def most(self, tokens_in: int, tokens_out: int) -> int:
        """What it costs where it is dearest, in atomic units."""
        return max(price.fee(tokens_in, tokens_out) for price in self._all())

    def _all(self) -> list[Price]:
        return [self._default, *self._named.values()]


def check_name(model: str) -> str:
    """The name, if a price can be set for it.  Raises `ValueError`."""
    if model == BASE:
        return model
    for pattern in ("adapters/*", "adapters/*/revisions/*"):
        try:
            names.match(pattern, model)
        except ValueError:
            continue
        return model
    raise ValueError(
        f"{model[:80]!r} is no model: name {BASE}, adapters/{{adapter}} or adapters/{{adapter}}/revisions/{{digest}}"
    )
