"""Transport of explanations: domain to proto.  A caller sees what `services.attribution.explain` found for it."""

from __future__ import annotations

import time

import grpc

from openledger import names
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.influence.drill_down import SCORERS
from services.attribution.desk import Desk
from services.attribution.explain import MOST_RECORDS, SAID, Explainer, Explanation
from services.attribution.quotes import Quote
from services.attribution.records import Best, Drilled, OneAtATime
from services.attribution.shelf import Availability
from services.attribution.words import Share
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.errors import exhausted, invalid

ACCESS = {"Explain": ACCOUNTS}
_SPANS = {state: pb.SpansState.Value(f"SPANS_STATE_{state}") for state in Availability}
_RECORDS = {state: pb.RecordsState.Value(f"RECORDS_STATE_{state}") for state in Availability}


class ExplainMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk, explainer: Explainer) -> None:
        self._desk, self._explainer = desk, explainer

    async def Explain(self, request: pb.ExplainRequest, context: grpc.aio.ServicerContext) -> pb.Explanation:
        scorer = request.record_scorer
        if scorer and scorer not in SCORERS:
            known = ", ".join(SCORERS)
            raise invalid("UNKNOWN_SCORER", f"there is no scorer {scorer!r}; there are {known}", "record_scorer")
        deadline = time.monotonic() + request.wait_seconds
        _, document = await self._desk.concerning(request.name, request.wait_seconds)
        left, may_read = max(0.0, deadline - time.monotonic()), self._desk.may_read(document.payer)
        try:
            caller = call.principal().address
            found = await self._explainer.explain(document, caller, scorer, left, may_read=may_read)
        except OneAtATime as error:
            raise exhausted(
                "ONE_AT_A_TIME",
                "another of your answers is being looked at: ask again when that is done",
                retry_after=2,
            ) from error
        told = pb.Explanation(
            name=request.name,
            words=found.summary,
            shares=map(_share, found.shares),
            answer_tokens=found.answer_tokens,
            spans=[_span(found, quote) for quote in found.quotes],
            spans_state=_SPANS[found.spans],
            spans_words=SAID[found.spans],
        )
        if found.drilled is not None:
            _tell(told, found.drilled)
        return told


def _tell(told: pb.Explanation, drilled: Drilled) -> None:
    told.records_state, told.records_words = _RECORDS[drilled.state], drilled.words
    told.record_scorer = drilled.scorer
    told.records.extend(map(_best, drilled.best))


def _best(best: Best) -> pb.ContributorRecords:
    told = pb.ContributorRecords(contributor=names.account(best.contributor), compared=best.compared)
    for rank, record in enumerate(best.records, start=1):
        told.records.add(rank=rank, score=record.score, error=record.error, record=record.name)
    return told


def _share(share: Share) -> pb.ExplainedShare:
    return pb.ExplainedShare(
        key=share.key, amount=str(share.amount), words=share.words, score=share.score, errors=share.errors
    )


def _span(found: Explanation, quote: Quote) -> pb.Span:
    span = pb.Span(start_token=quote.start, end_token=quote.end, rarity_bits=round(quote.bits))
    if found.places is not None:
        span.start_character, span.end_character = found.places.starts[quote.start], found.places.starts[quote.end]
    for source in quote.sources:
        mine = [found.records[number] for number in source.records if number < len(found.records)]
        span.sources.add(
            contributor=names.account(source.contributor),
            record_count=len(source.records),
            occurrences=source.occurrences,
            records=[record for record in mine if record][:MOST_RECORDS],
        )
    return span
