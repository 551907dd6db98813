"""What a contributor has of a model's answers, over real gRPC."""

from __future__ import annotations

import grpc
import pytest

from openledger import receipt as receipts
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.client import ApiError, Wallet
from openledger.split import NAT
from services.attribution import servicer_contribution
from services.kit.testing import as_service
from tests.attribution_world import STRANGER, attribution, read, revised


async def ask(around, who, where, revision, contributor, after=0):
    async with around.client(who, where) as client:
        request = pb.SumContributionRequest(
            revision=revision, contributor=f"accounts/{contributor}", after_offset=after
        )
        return await client.call(client.attribution.SumContribution, request)


async def refused(call, reason, code):
    with pytest.raises(ApiError) as error:
        await call
    assert (error.value.reason, error.value.code) == (reason, code)


async def test_pages_add_up_to_what_the_receipts_of_the_model_say(around, monkeypatch):
    monkeypatch.setattr(servicer_contribution, "_PAGE", 2)
    owner, artifacts = Wallet.create(), around.artifacts
    revision = revised(artifacts, owner=owner.address)
    who = artifacts.adapter.contributors[0]
    models = [revision, revision, artifacts.adapter.revision, revision, revision]
    around.peers.add(*(artifacts.trace(n, adapter=model) for n, model in enumerate(models)))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 5)
        pages, after = [], 0
        while not pages or pages[-1].through_offset < pages[-1].high_watermark:
            pages.append(await ask(around, owner, where, revision, who, after))
            after = pages[-1].through_offset
        beyond = await ask(around, owner, where, revision, who, after)
    documents = [receipts.parse(entry.receipt.document) for entry in entries]
    own = [document for document in documents if document.model.adapter == revision]
    assert len(pages) == 3
    assert sum(page.answers for page in pages) == len(own) == 4
    assert sum(int(page.amount) for page in pages) == sum(d.shares.get(who, 0) for d in own)
    assert sum(page.paid_answers for page in pages) == sum(d.shares.get(who, 0) > 0 for d in own)
    assert sum(int(page.fees) for page in pages) == sum(d.fee for d in own)
    people = set(artifacts.adapter.contributors)
    assert sum(int(page.contributors_amount) for page in pages) == sum(
        amount for d in own for key, amount in d.shares.items() if key in people
    )
    scores = [d.evidence.scores for d in own]
    assert sum(page.score for page in pages) == pytest.approx(sum(each[who] for each in scores) / NAT)
    positive = sum(max(score, 0) for each in scores for score in each.values()) / NAT
    assert sum(page.positive_scores for page in pages) == pytest.approx(positive)
    assert positive > 0
    assert (beyond.answers, beyond.amount, beyond.through_offset) == (0, "0", after)


async def test_it_is_for_the_contributor_and_the_developer(around):
    owner, contributor, artifacts = Wallet.create(), Wallet.create(), around.artifacts
    revision = revised(artifacts, owner=owner.address)
    async with attribution(around) as (where, _):
        for who in (owner, contributor):
            assert (await ask(around, who, where, revision, contributor.address)).answers == 0
        denied, missing = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND
        await refused(ask(around, STRANGER, where, revision, contributor.address), "NOT_YOURS", denied)
        unknown = "adapters/tiny/revisions/" + "5" * 64
        await refused(ask(around, owner, where, unknown, owner.address), "REVISION_NOT_FOUND", missing)
        other = revision.replace("adapters/tiny/", "adapters/other/")
        assert other != revision
        await refused(ask(around, owner, where, other, owner.address), "REVISION_NOT_FOUND", missing)
        bad = ask(around, owner, where, revision, owner.address, 2**63)
        await refused(bad, "BAD_OFFSET", grpc.StatusCode.INVALID_ARGUMENT)
