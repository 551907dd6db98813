"""`openledger verify training` as a stranger types it: what it says, its exit status, and going on after `kill -9`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from openledger.cli.main import app
from openledger.influence.quantize import quantise
from services.factory.lines import FOLDER
from services.factory.spec import FineTuneSpec
from tests import trained_world
from tests.unit.services.factory.conftest import records

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
SEED = "5e" * 32


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_folder):
    place = tmp_path_factory.mktemp("trained")
    spec = FineTuneSpec(
        base=str(base_folder), rank=4, layers=1, batch_size=8, epochs=1, held_out=0.2, seed=3, leave_one_out=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(place / "records"))
        return trained_world.train(place, base_folder, records(3, 4), spec, place / "records")


def command(trained, work, *more):
    return [
        *("verify", "training", f"adapters/words/revisions/{trained.revision}", "--artifacts", str(trained.artifacts)),
        *("--snapshots", str(trained.export), "--work", str(work), "--base", trained.lineage.spec["base"]),
        *("--seed", SEED, *more),
    ]


def test_the_command_says_what_holds_goes_on_after_a_kill_and_clears_up(trained, tmp_path):
    work = tmp_path / "work"
    arguments = [sys.executable, "-m", "openledger.cli.main", *command(trained, work, "--draw", "2")]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as running:
        for line in running.stderr:
            if line.startswith("2 of 3"):
                break
        running.send_signal(signal.SIGKILL)
    finished = {file.parent for file in work.glob("*/shards/*/result.json")}
    assert len(finished) >= 3, "plan, frozen layers and the run itself"
    shutil.copytree(work, tmp_path / "other")
    for file in (tmp_path / "other").glob("*/shards/*/model.safetensors"):
        tensors = load_file(file)
        save_file({**tensors, "theta": 2 * tensors["theta"]}, file)
    other = CliRunner().invoke(app, command(trained, tmp_path / "other", "--draw", "0", "--json"))
    assert not json.loads(other.stdout)["same_bytes"], "what is finished is found, not made again"
    result = CliRunner().invoke(app, command(trained, work, "--draw", "2", "--json"))
    assert result.exit_code == 0, result.output
    verdict = json.loads(result.stdout)
    assert (verdict["ok"], verdict["same_bytes"], len(verdict["drawn"]), verdict["of"]) == (True, True, 2, 3)
    assert "1 of 3: the run itself" in result.stderr
    assert list(work.iterdir()) == [], "texts were in there"


def test_what_differs_is_named_and_is_exit_status_1(trained, tmp_path):
    def lie(index):
        index.vectors[2, 5] ^= 1

    lies = trained.lying(tmp_path / "lies", contribution_index_safetensors=trained_world.rows(lie))
    result = CliRunner().invoke(app, command(lies, tmp_path / "work", "--draw", "0"))
    assert result.exit_code == 1, result.output
    assert f"Differs: the contribution of 0x{2:040x}: 1 of its" in result.stdout
    assert "comes to the adapter's very weights" in result.stdout


def test_where_nobody_s_records_are_here_nothing_can_be_checked(trained, tmp_path):
    made = records(3, 4)
    trained_world.export(tmp_path / "export", made, erased={record.name for record in made if record.name[-1] == "0"})
    gone = replace(trained, export=tmp_path / "export")
    result = CliRunner().invoke(app, command(gone, tmp_path / "work"))
    assert result.exit_code == 2, result.output
    assert "says nothing against the revision" in result.stdout


def test_with_an_erased_contributor_a_part_can_be_checked(trained, tmp_path):
    trained_world.export(tmp_path / "export", records(3, 4), erased={"records/00-01"})
    gone = replace(trained, export=tmp_path / "export")
    result = CliRunner().invoke(app, command(gone, tmp_path / "work"))
    assert result.exit_code == 3, result.output
    assert "Of 1 other trainings 1 were taken again" in result.stdout


@pytest.mark.parametrize(
    ("model", "more", "said"),
    (
        ("adapters/words", (), "a model is"),
        ("adapters/words/revisions/" + "0" * 64, (), "cannot be read"),
        (None, ("--rpc", "http://127.0.0.1:1"), "belong together"),
        (None, ("--seed", "5e"), "a seed is 32 bytes"),
        (None, ("--snapshots", "/nowhere"), "no export of a snapshot"),
    ),
)
def test_what_cannot_be_asked_is_exit_status_2(trained, tmp_path, model, more, said):
    arguments = command(trained, tmp_path / "work", *more)
    arguments[2] = model or arguments[2]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.replace("│", " ").split())


@pytest.fixture
def elsewhere(monkeypatch):
    """On a processor without AVX, sums are made in another order."""
    for name, value in (("ATEN_CPU_CAPABILITY", "default"), ("MKL_ENABLE_INSTRUCTIONS", "SSE4_2")):
        monkeypatch.setenv(name, value)


def scaled(index):
    row = quantise(1.1 * index.row(0).to_float(), index.header.sizes)
    index.vectors[0], index.exponents[0] = row.mantissas, row.exponents


def swapped(index):
    for each in (index.vectors, index.exponents):
        each[[0, 1]] = each[[1, 0]]


def test_on_another_kind_of_machine_the_honest_pass_and_lies_are_found(trained, elsewhere, tmp_path):
    result = CliRunner().invoke(app, command(trained, tmp_path / "work", "--draw", "3", "--json"))
    assert result.exit_code == 0, result.output
    verdict = json.loads(result.stdout)
    assert (verdict["ok"], verdict["same_bytes"]) == (True, False)
    rows = [one for some in (verdict["run"], *verdict["drawn"].values()) for one in some if one["distance"] is not None]
    assert 0 < max(one["distance"] for one in rows) < 0.03
    for lie, count in ((scaled, 1), (swapped, 2)):
        changed = {
            "leave_one_out_index_safetensors": trained_world.rows(lie),
            "contribution_index_safetensors": trained_world.rows(lie),
        }
        lies = trained.lying(tmp_path / lie.__name__, **changed)
        result = CliRunner().invoke(app, command(lies, tmp_path / "work", "--draw", "3", "--json"))
        assert result.exit_code == 1, result.output
        assert len(json.loads(result.stdout)["wrong"]) == 2 * count
