"""What a datanet's owner can ask for, and what of it is offered here: nothing is agreed to that nothing obeys."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from services.datanet.model import Definition, Duplicates, Kind, PersonalData
from services.kit.errors import invalid

OFFERED: frozenset[str] = frozenset({"policy.languages", "policy.personal_data", "policy.quality"})
"""Of the names in `_asked_for`, those that something in this service obeys."""


def check_offered(definition: Definition, offered: Collection[str] = OFFERED) -> None:
    """Raises `Fault` that names the first thing that is asked for and not offered."""
    for field, what_is in _asked_for(definition):
        if field not in offered:
            raise invalid("NOT_OFFERED", f"datanet.{field}: is not offered; {what_is}", f"datanet.{field}")


def _asked_for(definition: Definition) -> Iterator[tuple[str, str]]:
    policy = definition.policy
    if definition.kind is not Kind.TEXT:
        yield "kind", "datanets hold text"
    if policy.languages:
        yield "policy.languages", "languages are not told apart"
    if policy.personal_data is not PersonalData.IGNORE:
        yield "policy.personal_data", "personal data is not looked for"
    if policy.quality:
        yield "policy.quality", "texts are not judged"
    if policy.duplicates is Duplicates.CREDIT:
        yield "policy.duplicates", "what reads like an earlier record is refused, or not looked for"
    if policy.reward_cut_bps:
        yield "policy.reward_cut_bps", "all that the data earns is its contributors'"
    for field in ("reviews", "reviewers", "gold_share_bps", "review_days"):
        if getattr(policy, field):
            yield f"policy.{field}", "records are admitted on the checks alone"
