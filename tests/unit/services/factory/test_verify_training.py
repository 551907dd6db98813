"""A stranger trains again, with the real trainer on the tiny model, in worker processes as the command does."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from openledger.artifacts import ArtifactStore
from openledger.influence.quantize import quantise
from services.factory.lines import FOLDER
from services.factory.model import JobFailed
from services.factory.retrainings import Refused
from services.factory.verify_training import Order, verify
from tests import trained_world
from tests.trained_world import rows
from tests.unit.services.factory.conftest import records, spec

PEOPLE, EACH, HALVES = 4, 5, 4
ALL = PEOPLE + HALVES
SEED = "5e" * 32
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
LEFT_OUT, HALF = "leave_one_out_index_safetensors", "halves_index_safetensors"


@pytest.fixture(scope="module")
def settings(base):
    texts = {"prompt_template": "{prompt}", "completion_template": "{completion}"}
    return spec(**texts, base=str(base), layers=2, epochs=2, held_out=0.2, leave_one_out=True, halves=HALVES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base, settings):
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(place / "records"))
        return trained_world.train(place, base, records(PEOPLE, EACH), settings, place / "records")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """What one test made the next one finds: the trainings are the same, whatever is published of them."""
    return tmp_path_factory.mktemp("work")


def found(trained, work, draw=ALL, seed=SEED, told=lambda _: None):
    places = str(trained.artifacts), [str(trained.export)], str(work)
    order = Order(trained.revision, *places, draw, seed, base=trained.lineage.spec["base"])
    verdict = asyncio.run(verify(order, told))
    return json.loads(json.dumps(verdict))


def test_an_honest_revision_is_what_training_gives_byte_for_byte(trained, work):
    told = []
    verdict = found(trained, work, told=told.append)
    assert (verdict["ok"], verdict["whole"], verdict["same_bytes"], verdict["wrong"]) == (True, True, True, [])
    assert (verdict["of"], len(verdict["drawn"]), verdict["at_most"]) == (ALL, ALL, 0)
    everything = [*verdict["run"], *(one for some in verdict["drawn"].values() for one in some)]
    assert all(one["same"] for one in everything)
    assert len(everything) == (3 + PEOPLE + 2) + 2 * PEOPLE + HALVES
    assert (told[-1]["training"], told[-1]["of"], told[-1]["share"]) == (1 + ALL, 1 + ALL, 1.0)
    assert all(one["seconds_left"] is None or one["seconds_left"] >= 0 for one in told)


def raised(index):
    index.vectors[1, 7] += 1 if index.vectors[1, 7] < 127 else -1


def swapped(index):
    for each in (index.vectors, index.exponents):
        each[[0, 1]] = each[[1, 0]]


def scaled(index):
    row = quantise(1.1 * index.row(1).to_float(), index.header.sizes)
    index.vectors[1], index.exponents[1] = row.mantissas, row.exponents


def made_up(index):
    length = np.linalg.norm(index.row(1).to_float())
    drawn = np.random.default_rng(0).standard_normal(index.vectors.shape[1])
    row = quantise(drawn * length / np.linalg.norm(drawn), index.header.sizes)
    index.vectors[1], index.exponents[1] = row.mantissas, row.exponents


@pytest.mark.parametrize("name", (LEFT_OUT, HALF, "contribution_index_safetensors"))
@pytest.mark.parametrize(("lie", "count"), ((raised, 1), (swapped, 2), (scaled, 1), (made_up, 1)))
def test_lies_about_rows_are_found_and_named(trained, work, tmp_path, name, lie, count):
    verdict = found(trained.lying(tmp_path / "lies", **{name: rows(lie)}), work)
    assert not verdict["ok"]
    assert verdict["same_bytes"], "the adapter is true"
    assert len(verdict["wrong"]) == count
    whose = {LEFT_OUT: f"without 0x{1:040x}", HALF: "of half 2", "contribution_index_safetensors": f"of 0x{1:040x}"}
    assert any(whose[name] in words for words in verdict["wrong"])
    assert verdict["at_most"] == (0 if "contribution" in name else count)


def test_an_adapter_of_another_seed_is_found(trained, work, base, settings, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path / "records"))
    other = trained_world.train(
        tmp_path / "other", base, records(PEOPLE, EACH), replace(settings, seed=4), tmp_path / "records"
    )
    weights = published(other, "adapter_model.safetensors")
    verdict = found(trained.lying(tmp_path / "lies", adapter_model_safetensors=lambda _: weights), work, draw=0)
    assert not verdict["ok"]
    assert "the adapter's weights: they are not what training comes to" in verdict["wrong"][0]


def test_measured_rises_are_measured_again(trained, work, tmp_path):
    def lie(data):
        document = json.loads(data)
        document["rises"][2]["mean"] += 0.01
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    verdict = found(trained.lying(tmp_path / "lies", audit_json=lie), work)
    assert len(verdict["wrong"]) == 1
    assert f"the rise of the held-out loss by the training without 0x{2:040x}" in verdict["wrong"][0]


def test_fewer_draws_leave_more_in_doubt(trained, work):
    verdict = found(trained, work, draw=3)
    assert verdict["ok"]
    assert len(verdict["drawn"]) == 3
    assert 0 < verdict["at_most"] < ALL
    assert set(found(trained, work, draw=3)["drawn"]) == set(verdict["drawn"]), "the seed draws"


def test_what_lacks_an_erased_contributor_is_said_and_is_not_wrong(trained, work, tmp_path):
    gone = f"0x{1:040x}"
    trained_world.export(tmp_path / "export", records(PEOPLE, EACH), erased={"records/01-02"})
    verdict = found(replace(trained, export=tmp_path / "export"), tmp_path / "work")
    assert (verdict["ok"], verdict["whole"], verdict["absent"], verdict["run"]) == (True, False, [gone], [])
    without = [mask for mask in json.loads(published(trained, "audit.json"))["halves"] if mask[1] == "0"]
    assert verdict["of"] == len(verdict["drawn"]) == 1 + len(without)
    assert verdict["beyond"] == ALL - verdict["of"]
    assert all(some[0]["same"] for some in verdict["drawn"].values()), "it needs none of the texts to be the same"
    assert any(gone in words and "erased" in words for words in verdict["words"])


def published(trained, name):
    return ArtifactStore(trained.artifacts).get(trained.lineage.files[name])


def test_another_text_than_was_committed_to_is_refused(trained, tmp_path):
    made = records(PEOPLE, EACH)
    trained_world.export(tmp_path / "export", made)
    file = next((tmp_path / "export" / "data").iterdir())
    file.write_text(file.read_text().replace(made[3].fields["completion"], "something else"))
    with pytest.raises(ValueError, match=f"{made[3].name} is not what was committed to"):
        found(replace(trained, export=tmp_path / "export"), tmp_path / "work")


def test_records_of_another_snapshot_are_refused(trained, tmp_path):
    trained_world.export(tmp_path / "export", records(PEOPLE, EACH + 1))
    with pytest.raises(JobFailed, match="root"):
        found(replace(trained, export=tmp_path / "export"), tmp_path / "work")
    order = Order(trained.revision, str(trained.artifacts), [], str(tmp_path / "work"), 1, base="smollm2-135m-instruct")
    with pytest.raises(Refused, match="export"):
        asyncio.run(verify(order, lambda _: None))


@pytest.mark.parametrize(
    ("change", "said"),
    (
        (lambda d: d["records"][0].__setitem__(0, "records/made-up"), "none of its snapshots"),
        (lambda d: d["batches"].reverse(), "another order"),
        (lambda d: d["records"][0].__setitem__(1, f"0x{3:040x}"), "counts"),
    ),
)
def test_a_training_that_does_not_follow_is_not_made(trained, work, tmp_path, change, said):
    def lie(data):
        document = json.loads(data)
        change(document)
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    lies = trained.lying(tmp_path / "lies", training_json=lie)
    digest = {"training": lies.lineage.files["training.json"]}

    def fitting(data):
        return json.dumps(json.loads(data) | digest, sort_keys=True, separators=(",", ":")).encode()

    verdict = found(lies.lying(tmp_path / "more", audit_json=fitting), work)
    assert not verdict["ok"]
    assert any(said in words for words in verdict["wrong"])
    assert verdict["run"] == []


def test_halves_that_the_seed_does_not_draw_are_found(trained, work, tmp_path):
    def lie(data):
        document = json.loads(data)
        document["halves"].reverse()
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    verdict = found(trained.lying(tmp_path / "lies", audit_json=lie), work, draw=0)
    assert any("halves" in words for words in verdict["wrong"])


KINDS = {
    "parts of the contributors": {"contributors_at_once": 3},
    "four bits": {"quantise": "nf4"},
    "its best step": {"patience": 1, "evaluations": 6, "epochs": 6, "learning_rate": 0.05},
    "all layers, canaries": {"layers": 0, "canaries": 2},
    "bfloat16, decomposed": {"precision": "bfloat16", "dora": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_is_what_training_gives(base, settings, tmp_path, monkeypatch, kind):
    monkeypatch.setenv(FOLDER, str(tmp_path / "records"))
    changed = replace(settings, halves=0, **KINDS[kind])
    made = trained_world.train(tmp_path / "made", base, records(PEOPLE, EACH), changed, tmp_path / "records")
    further = kind.startswith("parts")
    verdict = found(made, tmp_path / "work", draw=ALL if further else 1)
    assert (verdict["ok"], verdict["same_bytes"], verdict["wrong"]) == (True, True, [])
    assert verdict["of"] == PEOPLE + further
    if further:
        rows = verdict["drawn"]["part 2 of the contribution index"]
        assert [one["what"] for one in rows] == [f"the contribution of 0x{3:040x}"]


def test_a_replacement_is_what_its_run_gives_when_it_is_taken_again(trained, base, settings, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path / "records"))
    gone, all_records = f"0x{1:040x}", records(PEOPLE, EACH)
    bare = replace(settings, halves=0, leave_one_out=False)
    made = trained_world.train(tmp_path / "made", base, all_records, bare, tmp_path / "records", (trained, gone))
    verdict = found(made, tmp_path / "work")
    assert (verdict["ok"], verdict["whole"], verdict["same_bytes"], verdict["of"]) == (True, True, True, 0)
    erased = {record.name for record in all_records if record.contributor == gone}
    trained_world.export(tmp_path / "export", all_records, erased=erased)
    verdict = found(replace(made, export=tmp_path / "export"), tmp_path / "other")
    assert (verdict["ok"], verdict["absent"], verdict["same_bytes"]) == (True, [], True), "it takes none of theirs"
    assert not verdict["whole"], "but what was planned, before anybody was left out, nobody can tell"


@pytest.mark.parametrize("name", ("training.json", "audit.json", "leave_one_out_index.safetensors"))
def test_what_is_named_and_withheld_is_wrong(trained, tmp_path, name):
    shutil.copytree(trained.artifacts, tmp_path / "artifacts")
    digest = trained.lineage.files[name]
    (tmp_path / "artifacts" / "sha256" / digest[:2] / digest).unlink()
    verdict = found(replace(trained, artifacts=tmp_path / "artifacts"), tmp_path / "work")
    assert not verdict["ok"]
    assert digest in verdict["wrong"][0]


@pytest.mark.parametrize(
    ("left_out", "why"), (({"audit.json"}, "no audit.json"), ({"halves_index.safetensors"}, "halves_index"))
)
def test_what_should_be_named_and_is_not_is_wrong(trained, tmp_path, left_out, why):
    shutil.copytree(trained.artifacts, tmp_path / "artifacts")
    store = ArtifactStore(tmp_path / "artifacts")
    files = {name: sha for name, sha in trained.lineage.files.items() if name not in left_out}
    told = trained_world.put(store, replace(trained.lineage, files=files))
    verdict = found(replace(trained, artifacts=store.root, revision=told), tmp_path / "work")
    assert not verdict["ok"]
    assert why in verdict["wrong"][0]
