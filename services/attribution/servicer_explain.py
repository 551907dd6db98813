"""Transport of explanations: domain to proto.  A caller sees what `services.attribution.explain` found for it."""

from __future__ import annotations

import time

import grpc

from openledger import names
from openledger.attribution.v1 import attribution_pb2 as pb
from services.attribution.desk import Desk
from services.attribution.explain import MOST_RECORDS, SAID, Explainer, Explanation, Spans
from services.attribution.quotes import Quote
from services.attribution.words import Share
from services.kit import call
from services.kit.auth import ACCOUNTS

ACCESS = {"Explain": ACCOUNTS}
_STATES = {state: pb.SpansState.Value(f"SPANS_STATE_{state}") for state in Spans}


class ExplainMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk, explainer: Explainer) -> None:
        self._desk, self._explainer = desk, explainer

    async def Explain(self, request: pb.ExplainRequest, context: grpc.aio.ServicerContext) -> pb.Explanation:
        deadline = time.monotonic() + request.wait_seconds
        _, document = await self._desk.concerning(request.name, request.wait_seconds)
        left = max(0.0, deadline - time.monotonic())
        found = await self._explainer.explain(document, call.principal().address, left)
        return pb.Explanation(
            name=request.name,
            words=found.summary,
            shares=map(_share, found.shares),
            answer_tokens=found.answer_tokens,
            spans=[_span(found, quote) for quote in found.quotes],
            spans_state=_STATES[found.spans],
            spans_words=SAID[found.spans],
        )


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
