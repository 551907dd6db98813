"""Settling an epoch's answers together: what is in the models' pools goes to contributors, and what is left to nobody.

Runs inside the transaction that seals an epoch.  Everything that was booked since the last sealing is settled, model by
model; where a model's receipts were split by several rules, the answers of each rule by themselves.  Receipts are read
in pieces: what is held is the sums, one a contributor.

What is settled stays settled when the epoch's root is vetoed: the journals stand, the leaves are cumulative, and the
next sealing takes them up with what was settled of the receipts that came since.  So nothing is paid twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby

from sqlalchemy import Connection

from openledger import receipt as receipts
from openledger import split
from openledger.split import Answer, Net, Rule
from services.kit.ahead import read_ahead
from services.ledger import journal
from services.ledger.journal import Journal
from services.ledger.store import settlements, settling
from services.ledger.store.settlements import Settlement
from services.ledger.store.settling import Moved

Group = tuple[str, Rule]
"""What is settled together: receipts of one model, by one rule."""


@dataclass(frozen=True)
class Netted:
    """What was settled: models, the data's money, and what of it went to nobody, in atomic units.

    `moved`: by how much that moves each book.
    """

    settlement: Settlement
    models: int
    data: int
    unattributed: int
    moved: Moved


def net(connection: Connection, epoch: int, attempt: int) -> Netted:
    """Settle what is open, and move the books.  Call `books.lock` first, in the same transaction."""
    netted = write(connection, epoch, attempt)
    settling.move(connection, netted.moved)
    return netted


def write(connection: Connection, epoch: int, attempt: int) -> Netted:
    """`net`, whose books the caller has yet to move in the same transaction (`settling.move`)."""
    above = settlements.last(connection)
    name, models, data, unattributed = f"{epoch}.{attempt}", 0, 0, 0
    with read_ahead(settlements.documents(connection, above)) as pieces:
        nets = _nets(chain.from_iterable(pieces))

    def journals() -> Iterator[Journal]:
        nonlocal models, data, unattributed
        for model, amounts in _settled(nets):
            models += 1
            data += sum(amounts.values())
            unattributed += amounts.get(split.UNATTRIBUTED, 0)
            yield journal.settlement(name, model, amounts)

    moved = settling.write(connection, journals())
    return Netted(settlements.settled(connection, epoch, attempt, above), models, data, unattributed, moved)


def _nets(documents: Iterable[bytes]) -> dict[Group, Net]:
    """What receipts bring in: the money that their inference journals put into the pool, and the evidence."""
    nets: dict[Group, Net] = {}
    for document in documents:
        found = receipts.reread(document)  # it was parsed when it was admitted
        group = found.model.adapter, found.rule
        nets.setdefault(group, Net()).add(Answer(split.waiting(found.shares), found.evidence))
    return nets


def _settled(nets: Mapping[Group, Net]) -> Iterator[tuple[str, dict[str, int]]]:
    """Amounts by model, of those that have any, in the order of models."""
    for model, groups in groupby(sorted(nets, key=_model), _model):
        amounts: dict[str, int] = {}
        for group in groups:
            for who, amount in nets[group].settled(group[1]).items():
                amounts[who] = amounts.get(who, 0) + amount
        if amounts:
            yield model, amounts


def _model(group: Group) -> str:
    return group[0]
