"""Losses that a grade rests on, measured again: a provider who made some up is found as often as they are drawn."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from itertools import count

import pytest
from typer.testing import CliRunner

from openledger import answer_audit, grade, manifest
from openledger.adapters import materialise
from openledger.answer_audit import AnswerAudit
from openledger.cli.main import app
from openledger.evidence import Tolerance
from openledger.grade import Grade
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex, joined
from openledger.receipt import Receipt, sign
from openledger.verify_adapter import INDEX
from openledger.verify_rises import losses, remeasure
from tests.receipt_world import KEY, World

ANSWERS = 3


@dataclass(frozen=True)
class Measured:
    """A revision whose displacements are its contribution vectors, and answers that were really held against them."""

    world: World
    lineage: manifest.LineageManifest
    scorer: Scorer
    receipts: tuple[Receipt, ...]
    audits: tuple[AnswerAudit, ...]

    def grade(self, *audits: AnswerAudit) -> Grade:
        """Of these measurements; its numbers follow from them."""
        found = audits or self.audits
        documents = tuple(self.world.store.put(audit.dumps()) for audit in found)
        pairs = zip(self.receipts, found, strict=True)
        agreed = [answer_audit.agreements(r.evidence.scores, a.rises, r.trace_sha256)[0] for r, a in pairs]
        numbers = answer_audit.over_answers(agreed)
        return grade.sign(Grade(self.lineage.revision, *numbers, documents, 10_000), KEY)

    def private(self, *numbers: int, published: bool = False) -> Measured:
        """The same measurements of answers of which these are by today's receipts, whose traces are not there."""
        store, found, audits = self.world.store, list(self.receipts), list(self.audits)
        for number in numbers:
            old = found[number]
            store.path(old.trace_sha256).unlink()
            ended = f"2026-01-02T03:05:{number:02}.000000Z"
            found[number] = sign(replace(old, end_time=ended, published=published), KEY)
            audits[number] = replace(audits[number], receipt_sha256=store.put(found[number].dumps()))
        return replace(self, receipts=tuple(found), audits=tuple(audits))

    def again(self, given: Grade, budget: int, seed: int = 0):
        folder = materialise(self.world.store, self.lineage.digest, self.world.work / "again")
        return remeasure(given, self.world.store, self.scorer, folder, seed.to_bytes(32), budget)


@pytest.fixture
def measured(world, signed) -> Measured:
    """Nothing here is made up: rises are what the models say."""
    store, files = world.store, dict(world.lineage.files)
    index = files[answer_audit.INDEX] = files[INDEX]
    lineage = replace(world.lineage, files=files, licence="CC-BY-4.0", use="commercial")
    lineage = manifest.sign(lineage, "0x" + "77" * 32)
    store.put(lineage.to_bytes())
    scorer, receipts, audits = Scorer(world.base), [], []
    folder = materialise(store, lineage.digest, world.work / "measured")
    vectors = ContributionIndex.open(store.path(index))
    people = vectors.header.contributors
    for number in range(ANSWERS):
        trace = world.trace(
            response=f"responses/m{number}",
            adapter=lineage.revision,
            completion_token_ids=world.completion[: 4 + number],
            end_time=f"2026-01-02T03:05:{number:02}.000000Z",
        )
        plain = world.receipt(replace(trace, adapter=world.adapter.revision))
        model = replace(plain.model, adapter=lineage.revision)
        receipts.append(sign(replace(plain, model=model, trace_sha256=store.put(trace.dumps())), KEY))
        rows = [vectors.row(row) for row in range(len(people))]
        without = scorer.losses_without(folder, rows, trace.prompt_token_ids, trace.completion_token_ids)
        rises = {who: loss - plain.evidence.nll_model for who, loss in zip(people, without, strict=True)}
        audits.append(AnswerAudit(trace.response, store.put(receipts[-1].dumps()), lineage.revision, index, rises))
    return Measured(world, lineage, scorer, tuple(receipts), tuple(audits))


def as_of_halves(measured: Measured) -> str:
    """The same displacements, as if they were halves': an index of rows and no contributors."""
    plain = ContributionIndex.open(measured.world.store.path(measured.audits[0].index))
    header = replace(plain.header, contributors=(), placebos=plain.header.rows)
    pieces = joined([ContributionIndex(header, plain.vectors, plain.exponents)])
    return measured.world.store.put(b"".join(map(bytes, pieces)))


def made_up(audit: AnswerAudit) -> AnswerAudit:
    """One contributor was missed more than it was, by a little more than two machines may differ."""
    who = min(audit.rises)
    return replace(audit, rises={**audit.rises, who: audit.rises[who] + 2 * Tolerance().nll})


def test_what_was_really_measured_holds(measured):
    found = measured.again(measured.grade(), 99)
    everything = ANSWERS * len(measured.audits[0].rises)
    assert (found.drawn, found.of, found.wrong, found.at_most) == (everything, everything, (), 0)
    assert f"{everything} of the {everything} losses" in found.words()
    some = measured.again(measured.grade(), 2)
    assert (some.drawn, some.wrong) == (2, ())
    assert 0 < some.at_most < everything


def test_a_loss_that_was_made_up_is_named(measured):
    given = measured.grade(made_up(measured.audits[0]), *measured.audits[1:])
    found = measured.again(given, 99)
    assert len(found.wrong) == found.at_most == 1
    assert f"responses/m0 without {min(measured.audits[0].rises)}" in found.wrong[0]
    assert "1 wrong (the loss of" in found.words()


def test_it_is_found_when_it_is_drawn_and_never_else(measured):
    """One of twelve is drawn, by seeds until each has been."""
    given = measured.grade(made_up(measured.audits[0]), *measured.audits[1:])
    everything = {loss.digest for loss in losses(given, measured.world.store)}
    found: dict[str, bool] = {}
    for seed in count():
        drawn = min(losses(given, measured.world.store), key=lambda loss: _ticket(loss.digest, seed)).digest
        if drawn not in found:
            found[drawn] = bool(measured.again(given, 1, seed).wrong)
        if len(found) == len(everything):
            break
    assert list(found.values()).count(True) == 1
    assert len(found) == 12


def _ticket(digest: str, seed: int) -> bytes:
    """As docs/epochs.md has it."""
    return hashlib.sha256(
        b"openledger.spot_check.v1\0number\0" + seed.to_bytes(32) + b"\0" + bytes.fromhex(digest)
    ).digest()


def test_halves_are_measured_by_their_rows(measured):
    halves = as_of_halves(measured)
    rises = dict(enumerate(measured.audits[0].rises.values()))
    true = replace(measured.audits[0], halves_index=halves, halves={str(n): rise for n, rise in rises.items()})
    assert measured.again(measured.grade(true, *measured.audits[1:]), 99).wrong == ()
    forged = replace(true, halves={**true.halves, "1": true.halves["1"] - 2 * Tolerance().nll})
    (why,) = measured.again(measured.grade(forged, *measured.audits[1:]), 99).wrong
    assert "whoever is not in half 1" in why


@pytest.mark.parametrize("name", ("99", "-1"))
def test_halves_that_the_index_does_not_have_are_found(measured, name):
    halves = as_of_halves(measured)
    audit = replace(measured.audits[0], halves_index=halves, halves={name: 0})
    with pytest.raises(ValueError, match=f"has no row of {name}"):
        measured.again(measured.grade(audit, *measured.audits[1:]), 99)


def test_a_grade_of_nothing_has_nothing_to_measure(measured):
    nothing = grade.sign(Grade(measured.lineage.revision, 0, 0, 0, (), 10_000), KEY)
    with pytest.raises(ValueError, match="rests on no measurement"):
        measured.again(nothing, 5)


def test_losses_of_private_answers_are_not_drawn_and_are_said(measured):
    some = measured.private(0)
    each = len(measured.audits[0].rises)
    found = some.again(some.grade(), 99)
    assert (found.drawn, found.of, found.wrong, found.private) == (2 * each, 2 * each, (), each)
    assert f"but for {each} more, of which nothing is said: they are of private answers" in found.words()
    made_up_there = some.grade(made_up(some.audits[0]), *some.audits[1:])
    assert some.again(made_up_there, 99).wrong == ()
    made_up_elsewhere = some.grade(some.audits[0], made_up(some.audits[1]), some.audits[2])
    assert len(some.again(made_up_elsewhere, 99).wrong) == 1


@pytest.mark.parametrize("says_it", (False, True))
def test_a_trace_that_is_withheld_is_the_grades_fault(measured, says_it):
    if says_it:
        measured = measured.private(0, published=True)
    else:
        measured.world.store.path(measured.receipts[0].trace_sha256).unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        measured.again(measured.grade(), 99)
    said = run(measured, measured.grade(), "--budget", 99, "--base", measured.world.base)
    assert said.exit_code == 1
    assert "does not hold" in said.output


def test_where_all_answers_are_private_the_grade_is_not_called_false(measured):
    some = measured.private(0, 1, 2)
    said = run(some, some.grade(), "--budget", 99, "--base", measured.world.base, "--json")
    document = json.loads(said.stdout)
    everything = ANSWERS * len(measured.audits[0].rises)
    assert (said.exit_code, document["ok"]) == (3, True)
    assert (document["measured"]["of"], document["measured"]["private"]) == (0, everything)
    assert f"none of the {everything} losses that it rests on can be measured again here" in document["words"]
    assert "does not hold" not in document["words"]
    assert run(some, some.grade(), "--json").exit_code == 0, "its numbers follow"


def run(measured, given: Grade, *more: object):
    digest = measured.world.store.put(given.dumps())
    arguments = ["verify", "grade", digest, "--artifacts", measured.world.artifacts, *more]
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "250"})


def test_the_command_measures_as_many_again_as_it_is_told(measured):
    some = ("--budget", 4, "--base", measured.world.base, "--json")
    held = run(measured, measured.grade(), *some)
    assert held.exit_code == 0, held.output
    document = json.loads(held.stdout)
    assert document["measured"]["drawn"] == 4
    assert "The grade of" in document["words"]
    assert f"drawn by {document['measured']['seed']}" in document["words"]
    again = run(measured, measured.grade(), *some, "--seed", document["measured"]["seed"])
    assert json.loads(again.stdout) == document
    assert "measured" not in json.loads(run(measured, measured.grade(), "--json").stdout)


def test_the_command_says_what_was_made_up(measured):
    given = measured.grade(*map(made_up, measured.audits))
    found = run(measured, given, "--budget", 99, "--base", measured.world.base)
    assert found.exit_code == 1
    assert "3 wrong (the loss of responses/" in found.output


def test_another_base_model_measures_nothing(measured, tmp_path):
    shutil.copytree(measured.world.base, tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").write_bytes(b"another")
    found = run(measured, measured.grade(), "--budget", 4, "--base", tmp_path / "other")
    assert found.exit_code == 2
    assert "not the base model that was tuned" in found.output
    assert run(measured, measured.grade(), "--budget", 4, "--seed", "12").exit_code == 2
