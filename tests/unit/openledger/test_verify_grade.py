"""A grade is derived again from its documents, and whatever does not follow is found by `verify receipt`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from typer.testing import CliRunner

from openledger import answer_audit, canonical, grade, manifest
from openledger.answer_audit import AnswerAudit
from openledger.cli.main import app
from openledger.grade import FEWEST_ANSWERS, Grade
from openledger.receipt import Receipt, sign
from openledger.verify_grade import passed
from tests.receipt_world import FORGER, KEY, World, damage, failed, resplit


@dataclass(frozen=True)
class Judged:
    """A receipt that is believed in part, the grade that says why, and what that was computed from."""

    world: World
    receipt: Receipt
    measured: tuple[Receipt, ...]
    audits: tuple[AnswerAudit, ...]
    grade: Grade

    @property
    def store(self):
        return self.world.store

    def failure(self, given: Grade) -> str:
        """What is found wrong with a receipt that names this grade; nothing else is."""
        trust = grade.trust_bps(given, self.receipt.rule)
        evidence = replace(self.receipt.evidence, trust_bps=trust)
        found = failed(self.world.check(resplit(self.receipt, evidence=evidence, grade=self.store.put(given.dumps()))))
        assert found.keys() <= {"grade"}
        return found.get("grade", "")

    def of(self, audits, key=KEY, **changes: object) -> Grade:
        """The grade that these give, with its numbers changed."""
        store = self.store
        documents = tuple(store.put(audit.dumps()) for audit in audits)
        numbers = answer_audit.over_answers([agreement(self, audit) for audit in audits])
        return grade.sign(replace(Grade(self.grade.revision, *numbers, documents, 10_000), **changes), key)


def agreement(judged, audit):
    (receipt,) = [r for r in judged.measured if r.digest() == audit.receipt_sha256] or judged.measured[:1]
    return answer_audit.agreements(receipt.evidence.scores, audit.rises, receipt.trace_sha256)[0]


@pytest.fixture
def judged(world, signed) -> Judged:
    """Everybody is missed in the order opposite to the scores."""
    files = {**world.lineage.files, answer_audit.INDEX: world.store.put(b"index")}
    lineage = replace(world.lineage, files=files, licence="CC-BY-4.0", use="commercial")
    lineage, index = manifest.sign(lineage, "0x" + "77" * 32), files[answer_audit.INDEX]
    world.store.put(lineage.to_bytes())
    model = replace(signed.model, adapter=lineage.revision)
    measured, audits = [], []
    for n in range(FEWEST_ANSWERS):
        trace = world.trace(
            response=f"responses/m{n}", adapter=lineage.revision, end_time=f"2026-01-02T03:05:{n:02}.000000Z"
        )
        receipt = replace(signed, response=trace.response, model=model, trace_sha256=world.store.put(trace.dumps()))
        measured.append(sign(receipt, KEY))
        world.store.put(measured[-1].dumps())
        rises = {who: -score for who, score in signed.evidence.scores.items()}
        audits.append(AnswerAudit(trace.response, measured[-1].digest(), lineage.revision, index, rises))
    trace = world.trace(adapter=lineage.revision)
    receipt = replace(signed, model=model, trace_sha256=world.store.put(trace.dumps()))
    given = Grade(lineage.revision, -1000, -1000, -1000, (), 10_000)
    judged = Judged(world, receipt, tuple(measured), tuple(audits), given)
    return replace(judged, grade=judged.of(audits))


def test_a_grade_that_follows_holds(judged):
    assert (judged.grade.mean_milli, judged.grade.high_milli) == (-1000, -1000)
    assert judged.failure(judged.grade) == ""


def test_one_without_a_signature_is_read_and_does_not_say_how_many_are_drawn(judged):
    assert judged.failure(replace(judged.grade, audit_bps=None, signer="", signature="")) == ""


def test_documents_that_are_not_there_are_found(judged):
    documents = tuple(f"{n:064x}" for n in range(FEWEST_ANSWERS))
    assert "cannot be read" in judged.failure(grade.sign(replace(judged.grade, documents=documents), KEY))
    damage(judged.world, judged.audits[3].receipt_sha256)
    assert "damaged" in judged.failure(judged.grade)


def test_numbers_that_do_not_follow_are_found(judged):
    words = judged.failure(grade.sign(replace(judged.grade, mean_milli=-900), KEY))
    assert "the grade says -900 [-1000, -1000] thousandths, its documents give -1000 [-1000, -1000]" in words


def test_a_measurement_or_an_answer_that_counts_twice_is_found(judged):
    assert "one measurement twice" in judged.failure(judged.of((judged.audits[0],) * FEWEST_ANSWERS))
    again = replace(judged.audits[0], rises={who: 2 * rise for who, rise in judged.audits[0].rises.items()})
    assert "one answer twice" in judged.failure(judged.of((*judged.audits, again)))


@pytest.mark.parametrize(
    ("changes", "words"),
    (
        ({"revision": "adapters/tiny/revisions/" + "0" * 64}, "another model"),
        ({"response": "responses/other"}, "its receipt of"),
        ({"index": "0" * 64}, "another index"),
    ),
)
def test_measurements_of_something_else_are_found(judged, changes, words):
    assert words in judged.failure(judged.of((replace(judged.audits[0], **changes), *judged.audits[1:])))


def test_somebody_who_was_not_left_out_is_found(judged):
    rises = dict(judged.audits[0].rises)
    rises.pop(min(rises))
    assert "others were left out" in judged.failure(
        judged.of((replace(judged.audits[0], rises=rises), *judged.audits[1:]))
    )


def test_an_answer_that_was_not_drawn_is_found(judged):
    assert "is not among the 1 of 10000" in judged.failure(judged.of(judged.audits, audit_bps=1))


def test_another_signer_is_found_of_the_grade_and_of_what_was_measured(judged):
    assert "the grade is signed by" in judged.failure(judged.of(judged.audits, key=FORGER))
    changed = replace(judged.grade, mean_milli=judged.grade.mean_milli + 1)
    assert "it was changed after it was signed" in judged.failure(changed)
    forged = sign(judged.measured[0], FORGER)
    audit = replace(judged.audits[0], receipt_sha256=judged.store.put(forged.dumps()))
    assert "the receipt of responses/m0 is signed by" in judged.failure(judged.of((audit, *judged.audits[1:])))


def test_an_answer_that_was_drawn_and_is_not_measured_is_named(judged):
    assert passed(judged.grade, judged.store).due == []
    without = judged.of((*judged.audits[:7], *judged.audits[8:]))
    assert passed(without, judged.store).due == ["responses/m7"]
    trace = judged.store.put(
        judged.world.trace(response="responses/made-up", end_time="2026-01-02T03:05:05.000000Z").dumps()
    )
    made_up = replace(judged.measured[7], response="responses/made-up", trace_sha256=trace)
    judged.store.put(made_up.dumps())
    assert passed(judged.grade, judged.store).due == [], "anybody can put a file into a folder"
    newest_missing = judged.of(judged.audits[:-1])
    assert passed(newest_missing, judged.store).due == []
    assert passed(judged.of(judged.audits[:0:-1]), judged.store).due == ["responses/m0"]


@pytest.mark.parametrize(("public", "code"), ((True, 1), (False, 3)))
def test_an_answer_that_was_drawn_and_is_not_measured_is_named_by_its_receipts_time(judged, public, code):
    """No trace is needed for that. A private one's payer may have ended it before: that makes no grade false."""
    measured, audits = list(judged.measured), list(judged.audits)
    for number in range(len(measured)):
        judged.store.path(measured[number].trace_sha256).unlink()
        judged.store.path(measured[number].digest()).unlink()
        ended = f"2026-01-02T03:05:{number:02}.000000Z"
        measured[number] = sign(replace(measured[number], end_time=ended, published=public), KEY)
        audits[number] = replace(audits[number], receipt_sha256=judged.store.put(measured[number].dumps()))
    timed = replace(judged, measured=tuple(measured), audits=tuple(audits))
    without, left_out = timed.of((*audits[:7], *audits[8:])), ["responses/m7"]
    assert passed(without, judged.store) == ((left_out, [], []) if public else ([], left_out, []))
    assert passed(timed.of(audits[:-1]), judged.store) == ([], [], []), "the newest may be measured yet"
    said = command(judged.store.put(without.dumps()), "--artifacts", judged.world.artifacts)
    assert said.exit_code == code
    of_all = "leaves out answers that had to be measured; ask its signer why: responses/m7"
    of_private = (
        "which their payers may have ended before they could be measured (ask the grade's signer): responses/m7"
    )
    assert ((of_all in said.output), (of_private in said.output)) == (public, not public)


def test_of_receipts_of_before_whose_traces_are_not_here_it_is_said_that_their_times_are_not_known(judged):
    without = judged.of((*judged.audits[:7], *judged.audits[8:]))
    assert passed(without, judged.store).undated == []
    judged.store.path(judged.measured[7].trace_sha256).unlink()
    assert passed(without, judged.store).due == []
    assert passed(without, judged.store).undated == ["responses/m7"]
    judged.store.path(judged.measured[3].trace_sha256).unlink()
    assert passed(without, judged.store).undated == ["responses/m7"], "what was measured is not left out, dated or not"
    assert passed(judged.of((*judged.audits[:5], *judged.audits[6:])), judged.store).due == ["responses/m5"]


@pytest.fixture
def with_halves(judged):
    """Paid scores agree with leaving everybody out, and with halves of them they do not at all."""
    people, members = sorted(judged.receipt.evidence.scores), ["1100", "1010", "0110", "0011", "0101", "1001"]
    store, lineage = judged.store, judged.world.lineage
    document = canonical.dumps({"contributors": people, "halves": members})
    halves = {answer_audit.HALVES_INDEX: store.put(b"halves"), answer_audit.MEMBERS: store.put(document)}
    files = {**lineage.files, answer_audit.INDEX: store.put(b"index"), **halves}
    lineage = replace(lineage, files=files, licence="CC-BY-4.0", use="commercial")
    lineage = manifest.sign(lineage, "0x" + "77" * 32)
    store.put(lineage.to_bytes())
    model = replace(judged.receipt.model, adapter=lineage.revision)
    measured = [sign(replace(receipt, model=model), KEY) for receipt in judged.measured]
    audits = []
    for receipt in measured:
        scores = receipt.evidence.scores
        sums = [sum(scores[who] for who, there in zip(people, half, strict=True) if there == "1") for half in members]
        lost = {str(number): each for number, each in enumerate(sums)}
        digest = store.put(receipt.dumps())
        of = receipt.response, digest, lineage.revision, files[answer_audit.INDEX]
        audits.append(AnswerAudit(*of, dict(scores), halves[answer_audit.HALVES_INDEX], lost))
    trace = judged.world.trace(adapter=lineage.revision)
    receipt = replace(judged.receipt, model=model, trace_sha256=store.put(trace.dumps()))
    given = replace(judged.grade, revision=lineage.revision)
    return replace(judged, receipt=receipt, measured=tuple(measured), audits=tuple(audits), grade=given)


def test_where_there_are_halves_the_worse_of_both_is_the_grade(with_halves):
    numbers = dict.fromkeys(("mean_milli", "low_milli", "high_milli"), -1000)
    assert with_halves.failure(with_halves.of(with_halves.audits, **numbers)) == ""
    better = with_halves.of(with_halves.audits, **numbers | {"mean_milli": -900})
    assert "its documents give -1000" in with_halves.failure(better)


def test_halves_that_are_not_told_of_are_missed(with_halves):
    numbers = dict.fromkeys(("mean_milli", "low_milli", "high_milli"), -1000)
    first, *others = with_halves.audits
    silent = replace(first, halves_index="", halves={})
    assert "another index" in with_halves.failure(with_halves.of((silent, *others), **numbers))
    fewer = replace(first, halves={number: first.halves[number] for number in list(first.halves)[1:]})
    assert "other halves" in with_halves.failure(with_halves.of((fewer, *others), **numbers))


def test_the_command_says_whether_a_grade_holds(judged):
    def run(given):
        arguments = ("verify", "grade", judged.store.put(given.dumps()), "--artifacts", str(judged.world.artifacts))
        said = CliRunner().invoke(app, (*arguments, "--json"))
        return said.exit_code, json.loads(said.stdout)

    code, found = run(judged.grade)
    assert (code, found["ok"]) == (0, True)
    assert "10000 are drawn, and none of those here is left out" in found["words"]
    code, found = run(judged.of((*judged.audits[:7], *judged.audits[8:])))
    assert (code, found["unmeasured"]) == (1, ["responses/m7"])
    code, found = run(grade.sign(replace(judged.grade, low_milli=-900), KEY))
    assert (code, found["ok"]) == (1, False)
    assert "does not hold" in found["words"]


def command(*arguments: object):
    words = ["verify", "grade", *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "250"})


def test_what_cannot_be_begun_with_accuses_nobody(judged, tmp_path):
    digest, folder = judged.store.put(judged.grade.dumps()), judged.world.artifacts
    for arguments, words in (
        ((digest, "--artifacts", tmp_path / "mistyped"), "is no folder"),
        ((digest, "--artifacts", tmp_path), "is not among the artifacts"),
        (("0" * 64, "--artifacts", folder), "is not among the artifacts"),
        (("grade", "--artifacts", folder), "is not the name of an artifact"),
    ):
        said = command(*arguments)
        assert said.exit_code == 2, said.output
        assert words in said.output
        assert "does not hold" not in said.output


def test_what_this_machine_cannot_read_accuses_nobody(judged):
    digest, place = judged.store.put(judged.grade.dumps()), judged.store.path(judged.grade.documents[0])
    place.unlink()
    missing = command(digest, "--artifacts", judged.world.artifacts)
    assert (missing.exit_code, "does not hold" in missing.output) == (1, True)
    place.mkdir()
    said = command(digest, "--artifacts", judged.world.artifacts)
    assert said.exit_code == 2
    assert "Is a directory. This says nothing about the grade" in said.stderr
