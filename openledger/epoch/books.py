"""What the ledger must have journaled for receipts and settlements, from docs/settlement.md.  Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openledger.epoch.netting import ELSEWHERE, RECORDS, UNATTRIBUTED


@dataclass(frozen=True)
class Journal:
    """A journal; `postings` by book, signed atomic units."""

    kind: str
    key: str
    payload_sha256: str
    cause: str
    postings: Mapping[str, int]


def of_answer(document: Mapping[str, Any], digest: str, shares: Mapping[str, int]) -> Journal:
    """An answer's: its fee, to whom it is final, and to the pool of what belongs to the data.

    What records before the question earned is final.
    """
    places = {
        "platform": f"payable:{document['platform'].lower()}",
        "developer": f"payable:{document['developer'].lower()}" if document["developer"] else "held:base",
        "base": "held:base",
        "stakers": "held:stakers",
    }
    postings = {f"payer:{document['payer'].removeprefix('accounts/').lower()}": -sum(shares.values())}
    for key, amount in shares.items():
        if key.startswith(RECORDS):
            place = _payee(key.removeprefix(RECORDS))
        else:
            place = places[key] if key in ELSEWHERE else f"pool:{model(document)}"
        postings[place] = postings.get(place, 0) + amount
    postings = {place: amount for place, amount in postings.items() if amount}
    response = document["response"]
    return Journal("inference", f"inference:{response}", digest, response, postings)


def of_settlement(name: str, of: str, amounts: Mapping[str, int]) -> Journal:
    """A model's in one settlement: from its pool to whom it was settled."""
    postings = {f"pool:{of}": -sum(amounts.values())}
    postings |= {_payee(who): amount for who, amount in amounts.items()}
    content = json.dumps({k: str(v) for k, v in postings.items()}, sort_keys=True, separators=(",", ":"))
    payload = hashlib.sha256(content.encode()).hexdigest()
    return Journal("settlement", f"settlement:{name}:{of}", payload, of, postings)


def of_correction(journal: Journal, document: Mapping[str, str]) -> Journal:
    """What takes an answer's journal back, by an operator's signed document."""
    content = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    payload = hashlib.sha256(content.encode()).hexdigest()
    postings = {place: -amount for place, amount in journal.postings.items()}
    return Journal("correction", f"correction:{journal.key}", payload, journal.cause, postings)


def model(document: Mapping[str, Any]) -> str:
    """What answered: the adapter revision, or "base"."""
    return document["model"]["adapter"] or "base"


def _payee(who: str) -> str:
    return "held:unattributed" if who == UNATTRIBUTED else f"payable:{who}"
