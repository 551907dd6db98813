"""Transport of what a contributor has of a model's answers."""

from __future__ import annotations

import asyncio

import grpc

from openledger import names
from openledger.adapters import read_manifest
from openledger.artifacts import ArtifactError
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.manifest import ManifestError
from services.attribution.contribution import Contribution, add_up
from services.attribution.desk import Desk
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.errors import Fault, denied, invalid, not_found

ACCESS = {"SumContribution": ACCOUNTS}
_PAGE, _MAX_NUMBER = 500, 2**63 - 1


class ContributionMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def SumContribution(
        self, request: pb.SumContributionRequest, context: grpc.aio.ServicerContext
    ) -> pb.SumContributionResponse:
        if request.after_offset > _MAX_NUMBER:
            raise invalid("BAD_OFFSET", "after_offset is beyond every offset that there can be", "after_offset")
        who, caller = names.account_address(request.contributor), call.principal().address
        developer = await asyncio.to_thread(self._developer, request.revision)
        if caller not in (who, developer):
            raise denied(
                "NOT_YOURS", f"what {request.contributor} has of {request.revision} is for it and for the developer"
            )
        batch = await self._desk.receipts.read(request.after_offset, _PAGE)
        documents = [entry.payload for entry in batch.entries]
        found: Contribution = await asyncio.to_thread(add_up, documents, request.revision, who)
        return pb.SumContributionResponse(
            answers=found.answers,
            paid_answers=found.paid_answers,
            amount=str(found.amount),
            records_amount=str(found.records_amount),
            contributors_amount=str(found.contributors_amount),
            fees=str(found.fees),
            score=found.score,
            positive_scores=found.positive_scores,
            through_offset=batch.entries[-1].offset if batch.entries else request.after_offset,
            high_watermark=batch.high_watermark,
        )

    def _developer(self, revision: str) -> str:
        adapter, digest = names.match("adapters/*/revisions/*", revision)
        try:
            lineage = read_manifest(self._desk.artifacts, digest)
        except (ArtifactError, ManifestError) as error:
            raise _unknown(revision) from error
        if lineage.adapter != adapter:
            raise _unknown(revision)
        return lineage.owner


def _unknown(revision: str) -> Fault:
    return not_found("REVISION_NOT_FOUND", f"there is no published {revision}")
