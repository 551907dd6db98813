"""What becomes of records that a person gives, as it is told: by what was answered, and by how it stands now.

Knows nothing of files and terminals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import grpc

from openledger import giving
from openledger.client import ApiError, Client, request_id
from openledger.datanet.v1 import datanet_pb2 as pb

ACCEPTED, WAITING, BEFORE, REFUSED, UNSENT = STATES = ("accepted", "waiting", "before", "refused", "unsent")
_AT_ONCE = 8
_IN_DOUBT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN}


@dataclass(frozen=True)
class Outcome:
    """One of `STATES`; the record, where there is one; why, and what to do; other fields that would be taken."""

    state: str
    record: str = ""
    reason: str = ""
    message: str = ""
    suggested: Mapping[str, str] = field(default_factory=dict)


class Giver:
    """Gives to a datanet, part after part.

    anew: under new request ids, whatever was answered before.  brings_back: so are parts that cannot be answered as
    before, since a record of theirs was confirmed or erased.  stopped: what keeps all further parts from being sent.
    """

    def __init__(self, client: Client, into: pb.Datanet, *, anew: bool = False, brings_back: bool = False) -> None:
        assert client.wallet is not None
        self._client, self._wallet, self._into = client, client.wallet, into
        self._anew, self._brings_back = anew, brings_back
        self._given: dict[bytes, list[Outcome]] = {}
        self.stopped: ApiError | None = None

    async def give(self, part: Sequence[giving.Text]) -> list[Outcome]:
        """What became of each, in order."""
        if self.stopped is not None:
            message = f"it was not sent, since {self.stopped.reason} ended it before: run the command again"
            return [Outcome(UNSENT, "", self.stopped.reason, message)] * len(part)
        root = giving.content_root(self._wallet, part)
        if root in self._given:
            return [_as_before(outcome) for outcome in self._given[root]]
        try:
            answer = await self._sent(part)
        except ApiError as error:
            return [self._not_sent(error)] * len(part)
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(told: pb.RecordOutcome) -> Outcome:
            async with room:
                return _helpful(part[told.index], await self._settled(told))

        self._given[root] = await asyncio.gather(*map(one, answer.outcomes))
        return self._given[root]

    async def _sent(self, part: Sequence[giving.Text]) -> pb.ContributeRecordsResponse:
        new = request_id() if self._anew else ""
        try:
            return await giving.sent(self._client, self._wallet, self._into, part, new)
        except ApiError as error:
            if error.reason != "REQUEST_ID_REUSED" or not self._brings_back:
                raise
        return await giving.sent(self._client, self._wallet, self._into, part, request_id())

    def _not_sent(self, error: ApiError) -> Outcome:
        if error.reason == "REQUEST_ID_REUSED":
            since = "it was sent before, and a record sent with it was confirmed, let go or erased since"
            what = "nothing of these is sent now. --again sends all of them, what you erased too"
            return Outcome(BEFORE, "", error.reason, f"{since}: {what}")
        # Of most errors the next part would have the same.
        self.stopped = error
        doubt = "; it may have been taken: run the command again" if error.code in _IN_DOUBT else ""
        return Outcome(UNSENT, "", error.reason, error.message + doubt)

    async def _settled(self, told: pb.RecordOutcome) -> Outcome:
        """As it stands now: the answer may be an old one, and who said the same earlier may have been oneself."""
        waits = told.state == pb.RECORD_STATE_SCREENED
        if told.state == pb.RECORD_STATE_ACCEPTED:
            return Outcome(ACCEPTED, told.record)
        answered = Outcome(WAITING if waits else REFUSED, told.record, told.reason, told.message, told.suggested_fields)
        name = told.record if waits else told.first if told.reason == "DUPLICATE" else ""
        record = await self._mine(name) if name else None
        if record is None:
            return answered
        if record.state == pb.RECORD_STATE_SCREENED:
            why = next((check.message for check in record.checks if not check.passed), told.message)
            return Outcome(WAITING, name, "PERSONAL_DATA", why, record.suggested_fields)
        if waits and record.state == pb.RECORD_STATE_ACCEPTED:
            return Outcome(ACCEPTED, name)
        return Outcome(BEFORE, name, told.reason, f"you gave it before, as {name}")

    async def _mine(self, name: str) -> pb.Record | None:
        """A record of the caller's own; `None` if it is another's, or cannot be told."""
        request = pb.GetRecordRequest(name=name)
        try:
            record: pb.Record = await giving.again(lambda: self._client.call(self._client.datanet.GetRecord, request))
        except ApiError:
            return None
        return record if record.contributor == self._wallet.account else None


def _as_before(outcome: Outcome) -> Outcome:
    """What becomes of a record when another file has the same ones."""
    message = f"it is in a file before this one too, and was taken as {outcome.record}"
    return replace(outcome, state=BEFORE, message=message) if outcome.state == ACCEPTED else outcome


def _helpful(text: giving.Text, outcome: Outcome) -> Outcome:
    """Without a suggestion that is what was given: what was found is in the source then."""
    if not outcome.suggested or dict(outcome.suggested) != dict(text.fields):
        return outcome
    message = f"{outcome.message}. It is in the source, {text.source!r}, which contribute --source, --no-source change"
    return replace(outcome, suggested={}, message=message)
