"""The licence gate: whether what a model would be made from may be combined, for what use, and under which licence.

Takes SPDX expressions: of `A OR B` the choice is ours and falls on what asks for least, of `A AND B` all holds, an
exception (`WITH`) is taken as if it were not there.  The rules:

- a licence that is not known here is refused;
- NoDerivatives is refused;
- NonCommercial is good for non-commercial use alone;
- ShareAlike passes on to the model, and two that cannot become one licence are refused;
- what may not be restricted further (ShareAlike) and what restricts (NonCommercial, old attribution clauses beside the
  GPL) cannot be combined.

It reads no records, and it is no lawyer: `licence_terms` says what it takes licences to mean.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from license_expression import ExpressionError, ExpressionParseError, get_spdx_licensing

from services.factory.licence_terms import Terms, known

_MOST_CHOICES = 512
_SPDX = get_spdx_licensing()


class Use(StrEnum):
    """What the model is for."""

    COMMERCIAL = "commercial"
    NON_COMMERCIAL = "non-commercial"


class LicenceRefused(Exception):
    """The gate is closed.  `reason` is UPPER_SNAKE; `counts` are records by licence; the text is the rule in words."""

    def __init__(self, reason: str, rule: str, counts: Mapping[str, int]) -> None:
        super().__init__(rule)
        self.reason, self.counts = reason, dict(counts)


@dataclass(frozen=True)
class Source:
    """Something that a model is made from: `records` of a snapshot under one licence, or a base model (no records)."""

    name: str
    licence: str
    records: int = 0
    notice: str = ""
    """Who must be acknowledged how."""


@dataclass(frozen=True)
class Attribution:
    """Who must be named beside the model: the source, its licence, and the words asked for."""

    source: str
    licence: str
    notice: str = ""


@dataclass(frozen=True)
class Outcome:
    """The gate is open: the model's licence (SPDX), and what is due."""

    licence: str
    attributions: tuple[Attribution, ...]


def combine(sources: Sequence[Source], use: Use, own: Mapping[str, Terms]) -> Outcome:
    """The licence of a model made from these.  own: what the operator says of licences that are not known here.

    Raises `LicenceRefused`: LICENCE_UNKNOWN, LICENCE_FORBIDS_DERIVATIVES, LICENCE_NON_COMMERCIAL,
    LICENCES_INCOMPATIBLE.
    """
    counts = Counter[str]()
    for source in sources:
        counts[source.licence] += source.records
    spelled = {licence: _alternatives(licence, counts, own) for licence in counts}
    refusals: list[LicenceRefused] = []
    for choice in itertools.islice(itertools.product(*spelled.values()), _MOST_CHOICES):
        chosen = dict(zip(spelled, choice, strict=True))
        try:
            licence = _judge(chosen, counts, use, own)
        except LicenceRefused as refusal:
            refusals.append(refusal)
        else:
            return Outcome(licence, _attributions(sources, chosen, own))
    raise refusals[0]


def _alternatives(expression: str, counts: Mapping[str, int], own: Mapping[str, Terms]) -> list[frozenset[str]]:
    """The ways in which an expression can be met, each a set of licences that hold together; what asks least first."""
    try:
        return sorted(frozenset(_parsed(expression)), key=lambda way: (_demands(way, own), sorted(way)))
    except (ExpressionError, ExpressionParseError, ValueError) as error:
        raise LicenceRefused(
            "LICENCE_UNKNOWN", f"{expression[:100]!r} is no SPDX licence expression ({error}){_told(counts)}", counts
        ) from error


@lru_cache(maxsize=1000)
def _parsed(expression: str) -> tuple[frozenset[str], ...]:
    tree = _SPDX.parse(expression)
    if tree is None:
        raise ValueError("it is empty")
    return tuple(_ways(tree))


def _ways(tree: Any) -> list[frozenset[str]]:
    if isinstance(tree, _SPDX.OR):
        return [way for part in tree.args for way in _ways(part)]
    if isinstance(tree, _SPDX.AND):
        products = itertools.islice(itertools.product(*map(_ways, tree.args)), _MOST_CHOICES)
        return [frozenset().union(*parts) for parts in products]
    symbol = getattr(tree, "license_symbol", tree)  # of "A WITH exception", A
    return [frozenset({str(symbol.key)})]


def _demands(way: Iterable[str], own: Mapping[str, Terms]) -> tuple[int, int, int, int, int]:
    """How much is asked: unknown, no derivatives, no commerce, share-alike, names."""
    asked = [_terms(key, own) for key in way]
    clear = [terms for terms in asked if terms is not None]
    return (
        len(asked) - len(clear),
        sum(not terms.derivatives for terms in clear),
        sum(not terms.commercial for terms in clear),
        sum(terms.results is not None for terms in clear),
        sum(terms.attribution for terms in clear),
    )


def _terms(key: str, own: Mapping[str, Terms]) -> Terms | None:
    return known(key) or own.get(key)


def _judge(chosen: Mapping[str, frozenset[str]], counts: Mapping[str, int], use: Use, own: Mapping[str, Terms]) -> str:
    """The licence of a model under all of these."""
    keys = sorted(frozenset().union(*chosen.values()))
    terms = {key: _terms(key, own) for key in keys}
    told = _told(counts)
    if unknown := [key for key, asked in terms.items() if asked is None]:
        raise LicenceRefused(
            "LICENCE_UNKNOWN",
            f"what {_and(unknown)} allows is not known here, and what is not known is refused; an operator who has "
            f"read it can say so in the factory's setting LICENCES{told}",
            counts,
        )
    asked = {key: found for key, found in terms.items() if found is not None}
    if fixed := [key for key in keys if not asked[key].derivatives]:
        text = f"{_and(fixed)} does not allow to pass on what is made from it (NoDerivatives){told}"
        raise LicenceRefused("LICENCE_FORBIDS_DERIVATIVES", text, counts)
    private = [key for key in keys if not asked[key].commercial]
    if private and use is Use.COMMERCIAL:
        text = f"{_and(private)} allows non-commercial use alone, and this model is meant for commercial use{told}"
        raise LicenceRefused("LICENCE_NON_COMMERCIAL", text, counts)
    return _result(asked, counts)


def _result(asked: Mapping[str, Terms], counts: Mapping[str, int]) -> str:
    """One licence where ShareAlike asks for it, else all of them together, public domain left out."""
    sharing = [key for key, terms in asked.items() if terms.results is not None]
    if not sharing:
        due = [key for key, terms in asked.items() if terms.attribution or not terms.commercial]
        return " AND ".join(due) or "CC0-1.0"
    possible = frozenset.intersection(*(terms.results for terms in asked.values() if terms.results is not None))
    if not possible:
        text = f"{_and(sharing)} each ask that the model be passed on under themselves, which no one licence can do"
        raise LicenceRefused("LICENCES_INCOMPATIBLE", text + _told(counts), counts)
    fitting = [result for result in possible if not _against(result, asked)]
    if not fitting:
        against = sorted({key for result in possible for key in _against(result, asked)})
        text = f"{_and(sharing)} asks that the model be passed on under {_or(sorted(possible))}, which cannot take in"
        raise LicenceRefused("LICENCES_INCOMPATIBLE", f"{text} what is under {_and(against)}{_told(counts)}", counts)
    return min(fitting, key=lambda result: (result not in asked, "AGPL" in result, "-only" in result, result))


def _against(result: str, asked: Mapping[str, Terms]) -> list[str]:
    """The licences whose terms a share-alike result would break or be broken by."""
    of_result = known(result) or asked.get(result)
    commercial = of_result is not None and of_result.commercial
    return [key for key, terms in asked.items() if result in terms.never_under or (commercial and not terms.commercial)]


def _attributions(
    sources: Iterable[Source], chosen: Mapping[str, frozenset[str]], own: Mapping[str, Terms]
) -> tuple[Attribution, ...]:
    due: dict[Attribution, None] = {}
    for source in sources:
        owed = [key for key in sorted(chosen[source.licence]) if _asks_for_a_name(_terms(key, own))]
        if owed:
            due[Attribution(source.name, " AND ".join(owed), source.notice)] = None
    return tuple(due)


def _asks_for_a_name(terms: Terms | None) -> bool:
    return terms is not None and terms.attribution


def _told(counts: Mapping[str, int]) -> str:
    """: 12 records are under CC-BY-4.0, 3 under MIT."""
    said = [f"{records} under {licence}" for licence, records in sorted(counts.items()) if records]
    return f"; of the records {', '.join(said)}" if said else ""


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
