"""One answer's audit: how much each contributor was missed when it was left out, beside what it was paid by.  Pure.

An audit is a document, published under its SHA-256.  Which answers are audited is drawn by hash, and so is, of many
contributors, who is left out: nobody chooses, and anybody can tell.  How the rises were measured is not known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from openledger import canonical, names
from openledger.influence import agreement
from openledger.receipt import Receipt
from openledger.split import NAT

VERSION, INDEX = "openledger.answer_audit.v1", "leave_one_out_index.safetensors"
FEWEST_CONTRIBUTORS = 3
"""Of two every order is right or wrong altogether."""
MOST_CONTRIBUTORS = 64
"""Left out for one answer: a forward pass each, and a rank correlation of so many is known well enough."""


@dataclass(frozen=True)
class AnswerAudit:
    """rises: by contributor, by how much the answer's loss is higher without it, in 2**-64 nat per token.

    `index`: SHA-256 of the displacements that were taken back, one contributor's at a time.
    """

    response: str
    receipt_sha256: str
    revision: str
    index: str
    rises: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The document."""
        rises = {who: str(rise) for who, rise in self.rises.items()}
        return asdict(self) | {"version": VERSION, "rises": rises}

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


def over_answers(correlations: Sequence[float]) -> tuple[int, int, int]:
    """Mean, and low and high end of its 95 % bootstrap interval over answers, in thousandths."""
    found = agreement.over_queries(correlations)
    mean, low, high = (round(1000 * value) for value in (found.mean, found.low, found.high))
    return mean, low, high


def _hash(receipt: Receipt, what: str) -> int:
    seed = f"{VERSION}/{receipt.trace_sha256}/{receipt.model.index_root}{what}"
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
