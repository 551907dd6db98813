from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

import services.attribution
from openledger.answer_audit import INDEX
from openledger.artifacts import ArtifactStore
from openledger.grade import Grade
from services.attribution import model_audit, store_audits
from services.attribution.model_audit import MOST_DOCUMENTS, ModelAudits, summed_up
from services.attribution.store_audits import Audited
from services.kit.database import Database


def audited(count):
    return [Audited(f"responses/{n}", "r", 0.9, 0.0, f"d{n}") for n in range(count)]


def test_that_there_is_nothing_to_say_is_said():
    assert "Nothing was trained again" in summed_up("r", [], "", trained_again=False).words
    none = summed_up("r", [], "", trained_again=True)
    assert "No answer was drawn" in none.words
    assert not none.HasField("paid")


def test_what_was_found_is_said_in_numbers_and_in_words():
    told = summed_up("r", audited(3), "g", trained_again=True)
    assert "Over 3 answers drawn at random" in told.words
    assert "rank correlation 0.90 [0.90, 0.90]; shuffled 0.00 [0.00, 0.00]" in told.words
    assert (told.answers, told.paid.mean, told.shuffled.mean) == (3, 0.9, 0.0)
    assert "Over 1 answer drawn" in summed_up("r", audited(1), "g", trained_again=True).words


def test_the_newest_documents_are_named():
    told = summed_up("r", audited(MOST_DOCUMENTS + 1), "g", trained_again=True)
    assert list(told.documents) == [f"d{n}" for n in range(MOST_DOCUMENTS)]


@pytest.fixture
async def database(tmp_path):
    found = Database(f"sqlite:///{tmp_path / 'attribution.db'}")
    found.migrate(Path(services.attribution.__file__).parent / "migrations")
    yield found
    found.close()


async def keep(database, found, given):
    def both(connection):
        store_audits.keep(connection, found, datetime.now(UTC))
        store_audits.keep_grade(connection, given)

    await database.write(both)


async def test_a_model_is_summed_up_once_for_each_grade(database, tmp_path, monkeypatch):
    summed = []
    revision = "adapters/x/revisions/" + "a" * 64
    monkeypatch.setattr(model_audit, "_lineage", lambda *_: SimpleNamespace(files={INDEX: "f" * 64}))
    monkeypatch.setattr(model_audit, "summed_up", lambda *given, **more: summed.append(1) or summed_up(*given, **more))
    audits = ModelAudits(database, ArtifactStore(tmp_path))
    assert not (await audits.get(revision)).grade
    for count in (1, 2):
        found = [Audited(f"responses/{n}", revision, 0.9, 0.0, f"d{n}") for n in range(count)]
        given = Grade(revision, 900, 900, 900, tuple(each.document_sha256 for each in found))
        await keep(database, found, given)
        told = [await audits.get(revision) for _ in range(5)]
        assert {(one.answers, one.grade) for one in told} == {(count, given.digest())}
    assert len(summed) == 3
