"""What became of the records of an upload, as its contributor is told.

The answer is kept, to be given again, and must not outlive a record: what it suggests is put in only as it leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import wire
from services.datanet.admit import Refusal
from services.datanet.model import Policy
from services.datanet.store_alike import Earlier
from services.datanet.upload import Candidate, Upload
from services.datanet.verdict import verdict

HIDDEN = "a record not shown to you"
"""It is in a private datanet, or waits for its contributor's word."""


def answer(
    upload: Upload, first: Mapping[int, str], alike: Mapping[int, Earlier], hidden: Collection[str], policy: Policy
) -> pb.ContributeRecordsResponse:
    """All outcomes in order.

    first: by index, the name of the record that says it first.  alike: of those that were refused for it, the record
    that they read like.  hidden: names that are not told.  policy: by which the findings were judged.
    """
    outcomes = [_refused(index, refusal) for index, refusal in upload.refusals.items()]
    outcomes += [
        _alike(candidate, alike[candidate.index], hidden)
        if candidate.index in alike
        else _judged(candidate, first[candidate.index], hidden, policy)
        for candidate in upload.candidates
    ]
    outcomes.sort(key=lambda outcome: outcome.index)
    return pb.ContributeRecordsResponse(
        outcomes=outcomes,
        accepted=_count(outcomes, pb.RECORD_STATE_ACCEPTED),
        rejected=_count(outcomes, pb.RECORD_STATE_REJECTED),
        waiting=_count(outcomes, pb.RECORD_STATE_SCREENED),
    )


def suggest(response: pb.ContributeRecordsResponse, upload: Upload) -> None:
    """Put in what is suggested for records that were not taken as they were sent."""
    suggested = {c.index: c.suggestion for c in upload.candidates} | {
        index: refusal.suggestion for index, refusal in upload.refusals.items()
    }
    for outcome in response.outcomes:
        if asks_for_another(outcome):
            outcome.suggested_fields.update(suggested.get(outcome.index) or {})


def asks_for_another(outcome: pb.RecordOutcome) -> bool:
    """Whether other fields may be suggested instead of those sent."""
    return outcome.reason == "PERSONAL_DATA"


def datanet_of(record: str) -> str:
    """The datanet's id in a record's name."""
    return names.match("datanets/*/records/*", record)[0]


def _judged(candidate: Candidate, first: str, hidden: Collection[str], policy: Policy) -> pb.RecordOutcome:
    checks = wire.checks(candidate.findings)
    if first != candidate.name:
        said = HIDDEN if first in hidden else first
        message = f"{said} said the same earlier, and its contributor stays the author"
        outcome = _rejected(candidate.index, "DUPLICATE", message, checks)
        outcome.first = "" if first in hidden else first
        return outcome
    if not candidate.waits:
        return pb.RecordOutcome(index=candidate.index, state=pb.RECORD_STATE_ACCEPTED, record=first, checks=checks)
    _, why = verdict(candidate.findings, policy)
    return pb.RecordOutcome(
        index=candidate.index,
        state=pb.RECORD_STATE_SCREENED,
        record=first,
        reason=why.reason if why else "",
        message=why.message if why else "",
        checks=checks,
    )


def _alike(candidate: Candidate, earlier: Earlier, hidden: Collection[str]) -> pb.RecordOutcome:
    outcome = _rejected(
        candidate.index, "NEAR_DUPLICATE", near_duplicate(earlier, hidden), wire.checks(candidate.findings)
    )
    outcome.first = "" if earlier.name in hidden else earlier.name
    return outcome


def near_duplicate(earlier: Earlier, hidden: Collection[str]) -> str:
    """In words, that a record reads like that one, of which nothing is told where it is `hidden`."""
    told = f"{earlier.name} of {names.account(earlier.contributor)}"
    said = HIDDEN if earlier.name in hidden else told
    return f"it reads like {said}, which came first, and this datanet takes none"


def _refused(index: int, refusal: Refusal) -> pb.RecordOutcome:
    return _rejected(index, refusal.reason, refusal.message, wire.checks(refusal.findings))


def _rejected(index: int, reason: str, message: str, checks: Iterable[pb.Check]) -> pb.RecordOutcome:
    state = pb.RECORD_STATE_REJECTED
    return pb.RecordOutcome(index=index, state=state, reason=reason, message=message, checks=checks)


def _count(outcomes: Iterable[pb.RecordOutcome], state: int) -> int:
    return sum(outcome.state == state for outcome in outcomes)
