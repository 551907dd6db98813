"""Checks that a bundle's journals are exactly those that follow from its receipts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from openledger.epoch import books
from openledger.epoch.books import Journal
from openledger.epoch.bundle import JOURNALS, Bundle, whole
from openledger.epoch.case import Case
from openledger.epoch.receipts import stream
from openledger.epoch.report import Wrong


def journals(case: Case) -> str:
    """No journal is another, none is missing, none is too many; every unit is accounted for."""
    wanted, derived = _wanted(case.given), case.followed
    settlements, corrections, count, before = dict(derived.settlements), dict(derived.corrections), 0, 0
    sums = dict.fromkeys(("payer", "payable", "held", "pool"), 0)
    for row in case.given.rows(JOURNALS):
        number, found = row["number"], _journal(row)
        if number <= before:
            raise Wrong(f"journal {number} does not come after journal {before}")
        if found.kind == "settlement":
            place, expected = number, settlements.pop(found.key, None)
        elif found.kind == "correction":
            of, expected = corrections.pop(found.key, (number, None))
            place = number if of < number else 0
        else:
            place, expected = next(wanted, (number, None))
        if expected is None or place != number:
            raise Wrong(f"journal {number} ({found.key}) is not what follows from the receipts")
        _must_be(number, found, expected)
        for book, amount in found.postings.items():
            sums[book.partition(":")[0]] += amount
        count, before = count + 1, number
    missing = [str(place) for place, _ in wanted] + [*settlements, *corrections]
    if missing:
        raise Wrong(f"there is no journal {missing[0]}, and {len(missing) - 1} more are missing")
    if sums["pool"] or -sums["payer"] != derived.fees or derived.fees != sums["payable"] + sums["held"]:
        raise Wrong(f"fees {derived.fees} are not paid {sums['payable']} + held {sums['held']}, pooled {sums['pool']}")
    made = f"{len(derived.settlements)} of them settlements and {len(derived.corrections)} corrections"
    return (
        f"{count} journals are exactly those that follow from the receipts, {made}; fees {derived.fees} = "
        f"paid {sums['payable']} + held {sums['held']}, to the unit"
    )


def _wanted(bundle: Bundle) -> Iterator[tuple[int, Journal | None]]:
    """The journals of answers, by number."""
    for number, document, data in stream(bundle):
        shares = {key: whole(amount) for key, amount in document["shares"].items()}
        yield number, books.of_answer(document, hashlib.sha256(data).hexdigest(), shares)


def _journal(row: dict[str, Any]) -> Journal:
    postings: dict[str, int] = {}
    for posting in row["postings"]:
        text = posting["amount"]
        amount = -whole(text[1:]) if text.startswith("-") else whole(text)
        if not amount or posting["book"] in postings:
            raise Wrong(f"journal {row['number']} has a posting of nothing, or two of one book")
        postings[posting["book"]] = amount
    return Journal(row["kind"], row["key"], row["payload_sha256"], row["cause"], postings)


def _must_be(number: int, found: Journal, expected: Journal) -> None:
    for field_name, value in vars(expected).items():
        if (there := vars(found)[field_name]) == value:
            continue
        if field_name == "postings":
            book = min(b for b in value.keys() | there.keys() if value.get(b) != there.get(b))
            raise Wrong(
                f"journal {number} ({found.key}) has {there.get(book, 0)} in {book}, by the receipts it is "
                f"{value.get(book, 0)}"
            )
        raise Wrong(f"journal {number} has the {field_name} {there}, by the receipts it is {value}")
