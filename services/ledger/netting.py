"""Settling an epoch's answers together: what is in the models' pools goes to contributors, and what is left to nobody.

Runs inside the transaction that seals an epoch.  Everything that was booked since the last sealing is settled, model by
model; where a model's receipts were split by several rules, or with other numbers of placebos, each of these groups by
itself.  Receipts are read in pieces: what is held is the sums, one a contributor.

What is settled stays settled when the epoch's root is vetoed: the journals stand, the leaves are cumulative, and the
next sealing takes them up with what was settled of the receipts that came since.  So nothing is paid twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from openledger import receipt as receipts
from openledger import split
from openledger.split import Answer, Rule
from services.ledger import journal
from services.ledger.store import books, settlements
from services.ledger.store.settlements import Settlement


@dataclass(frozen=True)
class Netted:
    """What was settled: models, the data's money, and what of it went to nobody, in atomic units."""

    settlement: Settlement
    models: int
    data: int
    unattributed: int


def net(connection: Connection, epoch: int, attempt: int) -> Netted:
    """Settle what is open.  Call `books.lock` first, in the same transaction."""
    above = settlements.last(connection)
    name, models, data, unattributed = f"{epoch}.{attempt}", 0, 0, 0
    for model, groups in groupby(settlements.groups(connection, above), key=lambda group: group.model):
        amounts: dict[str, int] = {}
        for group in groups:
            answers = _answers(settlements.documents(connection, above, group))
            for who, amount in split.settle(answers, Rule(**json.loads(group.rule))).items():
                amounts[who] = amounts.get(who, 0) + amount
        if amounts:
            books.post(connection, journal.settlement(name, model, amounts))
            models += 1
            data += sum(amounts.values())
            unattributed += amounts.get(split.UNATTRIBUTED, 0)
    return Netted(settlements.settled(connection, epoch, attempt, above), models, data, unattributed)


def _answers(documents: Iterable[bytes]) -> Iterator[Answer]:
    """What receipts bring in: the money that their inference journals put into the pool, and the evidence."""
    for document in documents:
        found = receipts.reread(document)  # it was parsed when it was admitted
        yield Answer(split.waiting(found.shares), found.evidence)
