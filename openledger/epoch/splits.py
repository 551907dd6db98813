"""Checks by which splits a bundle's receipts are, from docs/epochs.md: each by one that held when its answer ended.

Whether the chain holds what the manifest says of it is not known here (`openledger.cli.splits_on_chain`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from openledger.epoch.bundle import Bundle, Split
from openledger.epoch.case import Case
from openledger.epoch.receipts import stream
from openledger.epoch.report import Wrong

MOST_BPS = 5_000
"""What the registry lets developer and stakers have together."""
MOST_LAG = 7 * 86_400
"""What a ledger can be told, in seconds: with more, whoever writes a bundle would choose among a developer's splits."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


@dataclass
class Use:
    """A split that the manifest names, how long it lasts by all that is named, and what was paid by it.

    Unix seconds; `until` None: to the end.  `last`: when the last of its answers ended; None where no receipt says it.
    """

    split: Split
    until: int | None
    receipts: int = 0
    untimed: int = 0
    last: int | None = None

    def pays(self, parts: tuple[int, int], ended: int | None, lag: int) -> bool:
        """Whether an answer may be paid by it."""
        if parts != (self.split.developer_bps, self.split.stakers_bps):
            return False
        if ended is None:  # of before revisions had splits of their own
            return self.split.since is None
        begun = self.split.since is None or self.split.since.time <= ended + lag
        return begun and (self.until is None or ended < self.until + lag)

    def count(self, ended: int | None) -> None:
        """One answer more."""
        self.receipts += 1
        if ended is None:
            self.untimed += 1
        else:
            self.last = max(self.last or ended, ended)


def splits(case: Case) -> str:
    """Every receipt of a revision is by a split that held for it when its answer ended."""
    found = case.given.manifest.splits
    if found is None:
        return _without(case.given)
    if found.lag > MOST_LAG:
        raise Wrong(f"the lag is {found.lag} s, and no ledger has more than {MOST_LAG}: any split could be right")
    uses = used(case.given)
    own = sum(use.receipts for use in uses if use.split.since is None)
    registered = sum(use.receipts for use in uses) - own
    untimed = sum(use.untimed for use in uses)
    told = f"; {untimed} do not say when their answers ended" if untimed else ""
    return (
        f"{registered} receipts are by splits that held, by the registry {found.registry}, when their answers ended, "
        f"or within {found.lag} s of it; {own} are of revisions that were not registered then{told}"
    )


def _without(bundle: Bundle) -> str:
    """Of before: then none of its receipts says when its answer ended, for who makes those is told of splits."""
    for number, document, _ in stream(bundle):
        if "end_time" in document:
            raise Wrong(
                f"the bundle is of before revisions had splits of their own, the receipt of journal {number} not"
            )
    return "a bundle of before revisions had splits of their own: its receipts are by the rules named in it"


def used(bundle: Bundle) -> list[Use]:
    """The manifest's splits, with what was paid by each, if anything.  Raises `Wrong` for a receipt by none of them."""
    manifest = bundle.manifest
    assert manifest.splits is not None
    named = _by_revision(manifest.splits.held)
    for number, document, _ in stream(bundle):
        revision = document["model"]["adapter"]
        if not revision:
            continue
        rule, ended = document["rule"], _ended(number, document)
        parts = rule["developer_bps"], rule["stakers_bps"]
        may = [use for use in named.get(revision, ()) if use.pays(parts, ended, manifest.splits.lag)]
        if not may:
            raise Wrong(
                f"the receipt of journal {number} gives developer and stakers {parts[0]} and {parts[1]} basis points; "
                f"no split that is named held so for {revision} when its answer ended"
            )
        _exact(may, ended).count(ended)
    return [use for of_one in named.values() for use in of_one if use.receipts]


def _exact(may: list[Use], ended: int | None) -> Use:
    """The one that held at that very time, if it is among them."""
    return next((use for use in may if use.pays((use.split.developer_bps, use.split.stakers_bps), ended, 0)), may[0])


def _by_revision(held: list[Split]) -> dict[str, list[Use]]:
    """In the order of time; each lasts until a later one begins, or as long as it is said to."""
    found: dict[str, list[Split]] = {}
    for split in sorted(held, key=_begin):
        _check(split)
        found.setdefault(split.revision, []).append(split)
    return {revision: [Use(split, _end(split, splits)) for split in splits] for revision, splits in found.items()}


def _end(split: Split, splits: list[Split]) -> int | None:
    ends = [begin for other in splits if (begin := _begin(other)) > _begin(split)]
    return min(ends if split.until is None else [split.until, *ends], default=None)


def _begin(split: Split) -> int:
    return -1 if split.since is None else split.since.time


def _check(split: Split) -> None:
    total = split.developer_bps + split.stakers_bps
    if min(split.developer_bps, split.stakers_bps) < 0 or (split.since is not None and total > MOST_BPS):
        raise Wrong(f"a split of {split.revision} gives developer and stakers {total} of 10000: no registry holds that")
    if split.since is not None and split.until is not None and split.until < split.since.time:
        raise Wrong(f"a split of {split.revision} ends before it begins")


def _ended(number: int, document: Mapping[str, Any]) -> int | None:
    """Unix seconds, rounded down; None where the receipt does not say it."""
    if "end_time" not in document:
        return None
    text = document["end_time"]
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise Wrong(f"the receipt of journal {number} says no time at which its answer ended: {str(text)[:60]!r}")
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(microsecond=0, tzinfo=UTC)
    return round(moment.timestamp())
