"""The worker's task in this process, with the real trainer on the tiny model."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from openledger import base_models
from openledger.artifacts import ArtifactError, ArtifactStore, file_sha256
from openledger.influence.adapter_config import AdapterError
from services.factory import task
from services.factory.failures import REASONS
from services.factory.lineage import EVALUATION, PRIVATE_EVALUATION
from services.factory.lines import FOLDER, line
from services.factory.run_shard import shard
from services.factory.tell import PICTURES
from services.factory.train import Diverged, TrainingError
from services.kit.executor import TaskContext
from tests.factory_world import address, snapshot_records


@pytest.fixture
def work(job, base, tmp_path, monkeypatch):
    """Arguments of a small run; call it with records and changes of the specification."""
    kept = ArtifactStore(tmp_path / "records")
    monkeypatch.setenv(FOLDER, str(kept.root))

    def arguments(records, folder=base, **changes):
        data = b"".join(line(r.name, r.contributor, r.fields) for r in records)
        spec = replace(job.spec, base=str(folder), **changes)
        pinned = replace(job, spec=spec, records=kept.put(data), base_sha256=base_models.sha256(str(folder)))
        return dict(shard(pinned).arguments)

    return arguments


def run(arguments, tmp_path, reports=None):
    seen = [] if reports is None else reports
    context = TaskContext(tmp_path / "out", tmp_path / "scratch", seen.append, tmp_path.joinpath)
    return task.fine_tune(arguments, context)


def test_it_leaves_the_files_it_names_and_says_whose_records_it_used(work, tmp_path):
    reports = []
    result = run(work(snapshot_records(12, 3)), tmp_path, reports)
    assert {name: file_sha256(tmp_path / "out" / name) for name in task.PUBLISHED} == result["files"]
    assert set(result["contributors"]) == {address(1), address(2), address(3)}
    assert sum(result["contributors"].values()) + result["metrics"]["records_held_out"] == 12
    phases = list(dict.fromkeys(r["phase"] for r in reports))
    assert phases == ["base", "loading", "preparing", "evaluating", "training", "writing", "measuring"]
    assert result["verdict"]
    assert 0 <= result["metrics"]["accuracy_before"] <= 1
    assert result["peak_memory_bytes"] > 2**20
    for picture in PICTURES:
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_the_evaluation_for_everybody_holds_no_contributors_text(work, tmp_path):
    run(work(snapshot_records(40, 3), held_out=0.3), tmp_path)
    everybody, builder = (
        json.loads((tmp_path / "out" / name).read_bytes()) for name in (EVALUATION, PRIVATE_EVALUATION)
    )
    assert everybody["held_out"] == builder["held_out"]
    assert everybody["samples"] == []
    assert len(builder["samples"]) > 0


def test_canaries_are_planted_and_their_exposure_told(work, tmp_path):
    result = run(work(snapshot_records(12, 3), canaries=2), tmp_path)
    report = json.loads((tmp_path / "out" / EVALUATION).read_bytes())
    assert len(report["exposure"]["canaries"]) == 2
    assert sum(result["contributors"].values()) + result["metrics"]["records_held_out"] == 12


def test_dora_is_obeyed_from_the_specification_to_the_evaluation(work, tmp_path):
    result = run(work(snapshot_records(12, 3), dora=True), tmp_path)
    out = tmp_path / "out"
    assert json.loads((out / "adapter_config.json").read_bytes())["use_dora"] is True
    assert json.loads((out / EVALUATION).read_bytes())["method"] == "DoRA"
    magnitudes = [name for name in load_file(out / "adapter_model.safetensors") if "magnitude" in name]
    assert len(magnitudes) == 7
    assert {name: file_sha256(out / name) for name in task.PUBLISHED} == result["files"]


def test_a_map_that_cannot_carry_dora_is_told_to_the_owner(work, base, tmp_path):
    dead = shutil.copytree(base, tmp_path / "dead")
    tensors = load_file(dead / "model.safetensors")
    tensors["model.layers.3.mlp.up_proj.weight"][5] = 0.0
    save_file(tensors, dead / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AdapterError, match=r"up_proj has a row of zeros.*leave it out") as refused:
        run(work(snapshot_records(12, 3), dead, dora=True), tmp_path)
    assert REASONS[type(refused.value).__name__] == "UNTRAINABLE"


def test_one_contributor_is_enough(work, tmp_path):
    result = run(work(snapshot_records(6, 1)), tmp_path)
    assert list(result["contributors"]) == [address(1)]


def test_copies_are_trained_on_as_the_first_authors_and_counted(work, tmp_path):
    made = snapshot_records(6, 3)
    text = "A sac filled with fluid that forms in one or in both of the kidneys."
    made[1] = replace(made[1], fields=made[1].fields | {"answer": text})
    made[2] = replace(made[2], fields=made[2].fields | {"answer": text.replace("fluid", "water")})
    result = run(work(made, held_out=0.0), tmp_path)
    assert result["contributors"] == {address(1): 2, address(2): 3, address(3): 1}
    assert result["metrics"]["records_credited_to_others"] == 1
    told = json.loads((tmp_path / "out" / "training.json").read_bytes())["records"]
    assert [made[2].name, address(2)] in told


def test_what_cannot_be_used_is_counted_by_reason(work, tmp_path):
    records = snapshot_records(12, 3)
    records[1] = replace(records[1], fields={"question": "q" * 300, "answer": "a"})
    records[2] = replace(records[2], fields={"question": "q", "answer": " "})
    records[3] = replace(records[3], fields={"question": "q"})
    records[4] = replace(records[4], fields={"question": "q", "answer": "<|im_end|>"})
    result = run(work(records), tmp_path)
    assert result["dropped"] == {"CONTROL_TOKEN": 1, "EMPTY_TEXT": 1, "MISSING_FIELD": 1, "TOO_LONG": 1}


def test_nothing_usable_is_a_failure_that_shows_one_reason(work, tmp_path):
    with pytest.raises(task.NothingToTrainOn, match=r"none of the 6 records .* at most 10 fit"):
        run(work(snapshot_records(6, 2), max_length=10), tmp_path)


def test_records_that_were_changed_on_disk_are_not_trained_on(work, tmp_path):
    arguments = work(snapshot_records(6, 2))
    file = ArtifactStore(tmp_path / "records").path(arguments["records"])
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"aaa", b"bbb"))
    with pytest.raises(ArtifactError):
        run(arguments, tmp_path)


def test_another_base_than_was_agreed_on_is_refused(work, tmp_path):
    with pytest.raises(task.BaseChanged):
        run(work(snapshot_records(6, 2)) | {"base_sha256": "00" * 32}, tmp_path)


def test_more_layers_than_there_are_is_refused(work, tmp_path):
    with pytest.raises(TrainingError, match="has 4 layers"):
        run(work(snapshot_records(6, 2), layers=5), tmp_path)


def test_a_loss_that_is_no_number_is_a_failure_of_its_own(work, tmp_path, base):
    with pytest.raises(Diverged, match="learning rate"):
        run(work(snapshot_records(6, 2), overflowing(base, tmp_path / "sick")), tmp_path)
    assert not (tmp_path / "out").exists()


def overflowing(base: Path, folder: Path) -> Path:
    """A base whose logits leave the range of float32."""
    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= 1e38
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    "error",
    (
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ValueError(f"Error while serializing: I/O error: Disk quota exceeded (os error {errno.EDQUOT})"),
    ),
)
def test_a_full_disk_is_told_as_such(work, tmp_path, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(task, "train", full)
    with pytest.raises(task.DiskFull):
        run(work(snapshot_records(6, 2)), tmp_path)


def test_every_failure_of_its_own_has_a_reason():
    assert {"NothingToTrainOn", "BaseChanged", "DiskFull", "Diverged", "TrainingError"} <= set(REASONS)
