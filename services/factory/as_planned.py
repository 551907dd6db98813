"""Whether a run's records are credited, and a replacement takes the steps, as documents say that they must be.

What needs no texts: that is for whoever has them (`services.factory.again_task.plan`).  Trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

from openledger.adapters import read_manifest
from openledger.snapshots.files import Row
from services.factory.claims import Claims, NotTrained, digest_of, planned
from services.factory.contradictions import ended
from services.factory.replay import Replay

_MOST = 100
"""Revisions that replace one another; nobody leaves out contributors one by one that often."""


def miscredited(claims: Claims, rows: Iterable[Row]) -> Iterator[str]:
    """Records that are credited to whom no reading of texts can credit them; one of them is named.

    rows: of its snapshots, in their order.  Whose a record is follows from its text or an earlier one that reads like
    it, so it is its contributor's or that of an earlier record, whether or not texts are there.
    """
    place, first = dict[str, int](), dict[str, int]()
    for number, row in enumerate(rows):
        place.setdefault(row.record, number)
        first.setdefault(row.contributor, number)
    named = [*claims.run.training, *claims.run.held_out]
    if strange := [record for record, who in named if who and record not in place]:
        yield f"training.json names records that are in none of its snapshots: {strange[0]}"
    wrong = [one for one in named if one[1] and one[0] in place and first.get(one[1], len(place)) > place[one[0]]]
    if wrong:
        yield f"training.json credits {wrong[0][0]} to {wrong[0][1]}, of whom it has no record until then"
    nobodys = [record for record, who in named if not who]
    if any(record in place for record in nobodys) or len(nobodys) != claims.spec.canaries:
        yield f"training.json has {len(nobodys)} records that are nobody's, other than the specification's canaries"


def taken_again(claims: Claims) -> tuple[Claims, ...]:
    """A revision, the one that it replaces, and so on to one that was trained anew.

    Raises whatever reading raises for revisions that are withheld, or none.
    """
    chain = [claims]
    while (replaces := chain[-1].lineage.replaces) is not None:
        if len(chain) > _MOST:
            raise ValueError(f"more than {_MOST} revisions replace one another")
        before = read_manifest(claims.store, replaces.revision.rpartition("/")[2])
        try:
            chain.append(Claims.of(claims.store, before))
        except NotTrained as error:
            raise ValueError(f"{replaces.revision} cannot be taken again: {error}") from error
    return tuple(chain)


def replaced(chain: tuple[Claims, ...]) -> Iterator[str]:
    """What of the revisions of `taken_again` is not the one before taken again without somebody.

    Raises `ReplayError` where it cannot be.
    """
    for later, before in pairwise(chain):
        name, said = before.lineage.revision, later.lineage.replaces
        left = Replay.of(before.training, said.without if said else ())
        records, held_out = ([list(one) for one in some] for some in (left.training, left.held_out))
        if planned(later.training) != digest_of(records, held_out, left.plan.batches, left.plan.sizes):
            yield f"training.json has other records, or takes them in another order, than {name} without some"
        if later.run.steps != before.run.steps:
            yield f"training.json ends after step {later.run.steps}, {name} after step {before.run.steps}"
        if _anew(later) != _anew(before):
            yield f"it has other snapshots, another base or specification than {name}, which it replaces"
    if len(chain) > 1:
        yield from (f"{chain[-1].lineage.revision}: {words}" for words in ended(chain[-1]))


def _anew(claims: Claims) -> tuple[object, ...]:
    """All that decides a run, but for whom it leaves out."""
    lineage = claims.lineage
    return lineage.snapshots, lineage.base, replace(claims.spec, halves=0, leave_one_out=False)
