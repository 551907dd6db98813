"""Answers drawn at random are held against leaving contributors out, once each, and everybody can see how that went."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from itertools import combinations

import pytest

from openledger import answer_audit, canonical, manifest, verify_grade
from openledger import grade as grades
from openledger import receipt as receipts
from openledger.adapters import materialise, read_manifest
from openledger.answer_audit import HALVES_INDEX, INDEX, MEMBERS
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.client import ApiError
from openledger.grade import FEWEST_ANSWERS
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex, Header, quantised
from openledger.verify import verify_receipt
from services.kit.testing import as_service
from tests.attribution_world import STRANGER, attribution, counted, read


@pytest.fixture
def trained_again(around):
    """A revision whose builder had everybody left out; here with what the one run says of it, which is near enough."""
    artifacts = around.artifacts
    own = ContributionIndex.open(artifacts.store.path(artifacts.lineage.files["contribution_index.safetensors"]))
    people = len(own.header.contributors)
    header = Header(own.header.parameters, own.header.contributors, 0)
    left_out = ContributionIndex(header, own.vectors[:people], own.exponents[:people])
    return with_index(artifacts, left_out.to_bytes())


@pytest.fixture
def misjudged(around):
    """A revision whose builder found, or so it says, that everybody does the opposite of what is paid for."""
    artifacts = around.artifacts
    own = ContributionIndex.open(artifacts.store.path(artifacts.lineage.files["contribution_index.safetensors"]))
    people = len(own.header.contributors)
    header = Header(own.header.parameters, own.header.contributors, 0)
    opposite = ContributionIndex(header, -own.vectors[:people], own.exponents[:people])
    return with_index(artifacts, opposite.to_bytes())


def with_index(artifacts, index, **more):
    files = {**artifacts.lineage.files, INDEX: artifacts.store.put(index)}
    files |= {name: artifacts.store.put(data) for name, data in more.items()}
    lineage = replace(artifacts.lineage, files=files, licence="CC-BY-4.0", use="commercial")
    lineage = manifest.sign(lineage, "0x" + "77" * 32)
    artifacts.store.put(lineage.to_bytes())
    return lineage.revision


@pytest.fixture
def in_halves(around):
    """A revision with models of halves too, by what the one run says of everybody: taken back from the adapter."""
    artifacts = around.artifacts
    own = ContributionIndex.open(artifacts.store.path(artifacts.lineage.files["contribution_index.safetensors"]))
    people, parameters = own.header.contributors, own.header.parameters
    halves = list(combinations(range(len(people)), len(people) // 2))
    moved = [sum(own.row(c).to_float() for c in range(len(people)) if c not in half) for half in halves]
    index = quantised(Header(parameters, (), len(halves)), moved)
    left_out = ContributionIndex(
        Header(parameters, people, 0), own.vectors[: len(people)], own.exponents[: len(people)]
    )
    members = ["".join("01"[c in half] for c in range(len(people))) for half in halves]
    audit = canonical.dumps({"contributors": list(people), "halves": members})
    more = {HALVES_INDEX: index.to_bytes(), MEMBERS: audit}
    return with_index(artifacts, left_out.to_bytes(), **more)


async def grade(around, where, revision):
    async with around.client(STRANGER, where) as client:
        return await client.call(client.attribution.GetModelAudit, pb.GetModelAuditRequest(revision=revision))


async def graded(around, where, revision, answers):
    async with asyncio.timeout(30):
        while (found := await grade(around, where, revision)).answers < answers:
            await asyncio.sleep(0.05)
    return found


async def test_every_drawn_answer_is_audited_once_and_can_be_checked(around, trained_again, tmp_path):
    artifacts = around.artifacts
    around.peers.add(*[artifacts.trace(number, adapter=trained_again) for number in (1, 2, 3)])
    async with attribution(around, audit_bps=10_000) as (where, _), as_service("ledger", attribution=where) as ledger:
        (first, *_) = await read(ledger, 3)
        found = await graded(around, where, trained_again, 3)
    assert found.paid.low <= found.paid.mean <= found.paid.high
    assert found.paid.mean > 0.7
    assert found.shuffled.mean < found.paid.mean
    assert "Over 3 answers" in found.words
    around.peers.add(artifacts.trace(4, adapter=trained_again))
    async with attribution(around, audit_bps=10_000) as (where, assembly):
        assert (await graded(around, where, trained_again, 4)).answers == 4
        assert counted(assembly, "answers_audited_total") == {"": 1}

    documents = [json.loads(artifacts.store.get(sha256)) for sha256 in found.documents]
    document = next(each for each in documents if each["response"] == "responses/r1")
    measured = receipts.parse(first.receipt.document)
    assert document["receipt_sha256"] == measured.digest()
    index = ContributionIndex.open(artifacts.store.path(document["index"]))
    folder = materialise(artifacts.store, trained_again.rpartition("/")[2], tmp_path / "adapters")
    rows = [index.row(number) for number in range(len(index.header.contributors))]
    losses = Scorer(artifacts.adapter.base).losses_without(folder, rows, artifacts.prompt, artifacts.completion)
    expected = [str(loss - measured.evidence.nll_model) for loss in losses]
    assert [document["rises"][who] for who in index.header.contributors] == expected


async def test_where_halves_were_trained_an_answer_is_held_against_them_too(around, in_halves, tmp_path):
    artifacts = around.artifacts
    around.peers.add(*[artifacts.trace(number, adapter=in_halves) for number in (1, 2, 3)])
    async with attribution(around, audit_bps=10_000) as (where, _), as_service("ledger", attribution=where) as ledger:
        (first, *_) = await read(ledger, 3)
        found = await graded(around, where, in_halves, 3)
    assert found.halves.low <= found.halves.mean <= found.halves.high
    assert found.halves.mean > 0.5
    assert "And random halves of them" in found.words
    given = grades.parse(artifacts.store.get(found.grade))
    assert given.mean_milli == round(1000 * min(found.paid.mean, found.halves.mean))
    lineage = read_manifest(artifacts.store, in_halves.rpartition("/")[2])
    assert "3 measurements of drawn answers" in verify_grade.check(given, given.signer, lineage, artifacts.store)
    assert verify_grade.passed(given, artifacts.store) == ([], [], [])

    (document,) = [
        each
        for each in map(answer_audit.parse, map(artifacts.store.get, found.documents))
        if each.response == "responses/r1"
    ]
    index = ContributionIndex.open(artifacts.store.path(document.halves_index))
    folder = materialise(artifacts.store, lineage.digest, tmp_path / "adapters")
    rows = [index.row(number) for number in range(index.header.rows)]
    losses = Scorer(artifacts.adapter.base).losses_without(folder, rows, artifacts.prompt, artifacts.completion)
    whole = receipts.parse(first.receipt.document).evidence.nll_model
    assert document.halves == {str(number): loss - whole for number, loss in enumerate(losses)}


async def test_scores_that_retraining_contradicts_are_not_paid_by_and_the_receipt_says_why(around, misjudged):
    artifacts = around.artifacts
    traces = [artifacts.trace(number, adapter=misjudged) for number in range(FEWEST_ANSWERS + 1)]
    around.peers.add(*traces[:-1])
    async with attribution(around, audit_bps=10_000) as (where, _), as_service("ledger", attribution=where) as ledger:
        (first, *_) = await read(ledger, FEWEST_ANSWERS)
        await graded(around, where, misjudged, FEWEST_ANSWERS)
        around.peers.add(traces[-1])
        (last,) = await read(ledger, 1, after=FEWEST_ANSWERS)
    believed, doubted = (receipts.parse(entry.receipt.document) for entry in (first, last))
    assert (believed.evidence.trust_bps, believed.grade) == (10_000, "")
    assert believed.shares.keys() & artifacts.adapter.contributors
    assert doubted.evidence.trust_bps == 0
    assert not doubted.shares.keys() & set(artifacts.adapter.contributors)
    assert doubted.shares["base"] == pytest.approx(believed.shares["base"], abs=1000)
    grade = grades.parse(artifacts.store.get(doubted.grade))
    assert (grade.revision, len(grade.documents)) == (misjudged, FEWEST_ANSWERS)
    store, base = artifacts.store, artifacts.adapter.base
    report = verify_receipt(last.receipt.document, store, base, trace=traces[-1].dumps())
    assert report.ok, report.failed
    assert any("believed to 0 %" in check.words for check in report.checks)


async def test_the_command_says_it_in_words_and_as_json(around, trained_again):
    around.peers.add(around.artifacts.trace(1, adapter=trained_again))
    async with attribution(around, audit_bps=10_000) as (where, _):
        await graded(around, where, trained_again, 1)
        words = await command("audit", trained_again, "--at", f"attribution={where}")
        document = json.loads(await command("audit", trained_again, "--at", f"attribution={where}", "--json"))
    assert "Over 1 answer " in words
    told, its_grade = words.splitlines()
    assert (document["answers"], document["words"]) == (1, told)
    assert document["grade"] in its_grade


async def command(*arguments):
    program = (sys.executable, "-m", "openledger.cli.main")
    process = await asyncio.create_subprocess_exec(*program, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_of_a_revision_for_which_nothing_was_trained_again_that_is_said(around):
    around.peers.add(around.artifacts.trace(1), around.artifacts.trace(2, adapter=""))
    revision = around.artifacts.adapter.revision
    async with attribution(around, audit_bps=10_000) as (where, _), as_service("ledger", attribution=where) as ledger:
        await read(ledger, 2)
        told = await grade(around, where, revision)
    assert (told.answers, told.HasField("paid")) == (0, False)
    assert "Nothing was trained again" in told.words


@pytest.mark.parametrize("name", ("adapters/tiny/revisions/" + "0" * 64, "adapters/other/revisions/{}"))
async def test_of_an_unknown_revision_there_is_none(around, name):
    name = name.format(around.artifacts.adapter.revision.rpartition("/")[2])
    async with attribution(around) as (where, _):
        with pytest.raises(ApiError, match="was not published here") as caught:
            await grade(around, where, name)
    assert caught.value.reason == "REVISION_NOT_FOUND"


async def test_an_answer_that_cannot_be_audited_holds_nothing_up(around, trained_again):
    artifacts = around.artifacts
    broken = with_index(artifacts, b"no index")
    around.peers.add(artifacts.trace(1, adapter=broken), artifacts.trace(2, adapter=trained_again))
    async with attribution(around, audit_bps=10_000) as (where, _):
        assert (await graded(around, where, trained_again, 1)).answers == 1
        assert (await grade(around, where, broken)).answers == 0
