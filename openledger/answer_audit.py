"""One answer's audit: its loss without each contributor, and without halves of them, beside what they were paid by.

An audit is a document, published under its SHA-256.  Which answers are audited is drawn by hash, and so is, of many
contributors, who is left out: nobody chooses, and anybody can tell.  How the rises were measured is not known here.
Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from openledger import canonical, names
from openledger.influence import agreement
from openledger.receipt import Receipt
from openledger.split import NAT

VERSION, WITH_HALVES = "openledger.answer_audit.v1", "openledger.answer_audit.v2"
INDEX, HALVES_INDEX, MEMBERS = "leave_one_out_index.safetensors", "halves_index.safetensors", "audit.json"
"""By how much each contributor moved the weights, and whoever is not in each half; and who is in which."""
FEWEST_CONTRIBUTORS = 3
"""Of two every order is right or wrong altogether.  Of halves too."""
MOST_CONTRIBUTORS = 64
"""Left out for one answer: a forward pass each, and a rank correlation of so many is known well enough.

Of halves too.
"""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class AnswerAudit:
    """rises: by contributor, by how much the answer's loss is higher without it, in 2**-64 nat per token.

    `index`: SHA-256 of the displacements that were taken back, one contributor's at a time.  `halves_index` and
    `halves`: the same of the model of each half, by its number, where there are such models.
    """

    response: str
    receipt_sha256: str
    revision: str
    index: str
    rises: Mapping[str, int]
    halves_index: str = ""
    halves: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document."""
        both = {name: {key: str(rise) for key, rise in getattr(self, name).items()} for name in ("rises", "halves")}
        document = asdict(self) | both | {"version": WITH_HALVES}
        if not self.halves_index:
            document["version"] = VERSION
            del document["halves"], document["halves_index"]
        return document

    def dumps(self) -> bytes:
        """Canonical bytes: what is published."""
        return canonical.dumps(self.to_json())


def parse(data: bytes) -> AnswerAudit:
    """An audit from its canonical bytes.  Raises `ValueError` that says what is wrong with them."""
    try:
        document = canonical.loads(data)
        audit = AnswerAudit(
            document["response"],
            document["receipt_sha256"],
            document["revision"],
            document["index"],
            {names.address(who): int(rise) for who, rise in document["rises"].items()},
            document.get("halves_index", ""),
            {str(int(number)): int(rise) for number, rise in document.get("halves", {}).items()},
        )
        names.match("responses/*", audit.response)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an audit of an answer: {error!r}") from error
    if audit.dumps() != data:
        raise ValueError(f"not an {VERSION} document, or not in its one form")
    return audit


def place(receipt: Receipt) -> int:
    """An answer's place among 10,000, by the hash of trace and index."""
    return _hash(receipt, "") % 10_000


def drawn(receipt: Receipt, share_bps: int) -> bool:
    """Whether an answer is among those that are measured: those with the first so many places of 10,000."""
    return place(receipt) < share_bps


def left_out(receipt: Receipt, contributors: Collection[str]) -> list[str]:
    """Who is left out for an answer: everybody, or of too many as many as are enough, by the same hash and sorted."""
    first = sorted(contributors, key=lambda who: (_hash(receipt, f"/{who}"), who))
    return sorted(first[:MOST_CONTRIBUTORS])


def drawn_halves(receipt: Receipt, count: int) -> list[int]:
    """Which of so many halves an answer is held against: all, or as many as are enough, by the same hash."""
    first = sorted(range(count), key=lambda number: (_hash(receipt, f"/half/{number}"), number))
    return sorted(first[:MOST_CONTRIBUTORS])


def memberships(data: bytes) -> tuple[list[str], Bools]:
    """Contributors, and who of them is in which half [K, C], from a revision's `audit.json`.  Raises `ValueError`."""
    try:
        document = canonical.loads(data)
        people = [names.address(who) for who in document["contributors"]]
        halves = np.array([[member == "1" for member in half] for half in document["halves"]], dtype=bool)
        return people, halves.reshape(len(document["halves"]), len(people))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a revision's audit: {error!r}") from error


def agreement_of_halves(
    scores: Mapping[str, int], people: Sequence[str], members: Bools, rises: Sequence[int]
) -> float:
    """The linear datamodeling score of one answer: Spearman's correlation of members' summed scores with minus rises.

    people: [C]; members: [K, C]; rises: [K].  Raises `ValueError` where the receipt scores others.
    """
    if set(people) != scores.keys():
        raise ValueError("the receipt scores other contributors than the halves are of")
    paid = np.array([[scores[who] / NAT for who in people]])
    return float(agreement.lds(paid, members, -np.array([[rise / NAT] for rise in rises]))[0])


def agreements(scores: Mapping[str, int], rises: Mapping[str, int], seed: str) -> tuple[float, float]:
    """Spearman's correlation of rises with the scores of those who were left out, and with these dealt out at random.

    seed: hex.  Raises `ValueError` where somebody was left out whom the receipt does not score.
    """
    if not rises.keys() <= scores.keys():
        raise ValueError("the receipt scores other contributors than were left out")
    people = sorted(rises)
    paid = np.array([scores[who] / NAT for who in people])
    truth = np.array([rises[who] / NAT for who in people])
    shuffled = np.random.default_rng(int(seed[:16], 16)).permutation(paid)
    return float(agreement.spearman(paid, truth)), float(agreement.spearman(shuffled, truth))


def over_answers(correlations: Sequence[float], of_halves: Sequence[float] = ()) -> tuple[int, int, int]:
    """Mean, and low and high end of its 95 % bootstrap interval over answers, in thousandths: of whichever is worse."""
    found = min(map(agreement.over_queries, filter(len, (correlations, of_halves))), key=lambda one: one.mean)
    mean, low, high = (round(1000 * value) for value in (found.mean, found.low, found.high))
    return mean, low, high


def _hash(receipt: Receipt, what: str) -> int:
    seed = f"{VERSION}/{receipt.trace_sha256}/{receipt.model.index_root}{what}"
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
