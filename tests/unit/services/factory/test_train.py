from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import LlamaForCausalLM

from openledger.influence.dora import MAGNITUDE
from openledger.influence.index import ContributionIndex, root
from openledger.influence.lora import Adapter
from openledger.influence.shadow import ShadowTrajectories
from services.factory import inputs
from services.factory.data import Example, split, tokenise
from services.factory.passes import fastest_precision
from services.factory.train import Cancelled, Diverged, Progress, Scratch, TrainingError, TrainResult, train
from services.factory.training_run import TrainingRun
from services.factory.write import FILES, MOMENT
from tests.needs import needs
from tests.small_disk import small_disk
from tests.unit.services.factory.conftest import records, spec


@pytest.fixture(scope="module")
def examples(tokenizer: Any) -> tuple[Example, ...]:
    return tokenise(records(contributors=4, each=5), spec(), tokenizer).examples


@pytest.fixture(scope="module")
def events() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def result(
    examples: tuple[Example, ...], base: Path, tmp_path_factory: pytest.TempPathFactory, events: list[Progress]
) -> TrainResult:
    return train(spec(held_out=0.2), examples, base, tmp_path_factory.mktemp("out"), events.append)


def test_it_learns_and_says_so(result: TrainResult) -> None:
    assert result.metrics["loss_after"] < result.metrics["loss_before"] - 0.1
    assert result.metrics["records"] == 16
    assert result.metrics["records_held_out"] == 4
    assert result.metrics["steps"] == len(result.losses) == 6
    assert result.contributors == {f"0x{c:040x}": 4 for c in range(4)}
    assert json.loads((result.folder / "metrics.json").read_bytes()) == result.metrics


def test_the_adapter_loads_in_peft_and_gives_the_reported_loss(
    result: TrainResult, base: Path, examples: tuple[Example, ...]
) -> None:
    assert result.files == FILES
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), result.folder)
    _, held_out = split(examples, 0.2, seed=3)
    losses = []
    for example in held_out:
        ids = torch.tensor([[*example.prompt, *example.completion]])
        labels = torch.tensor([[-100] * len(example.prompt) + list(example.completion)])
        losses.append(model(input_ids=ids, labels=labels).loss.item())
    assert sum(losses) / len(losses) == pytest.approx(result.metrics["loss_after"], abs=1e-4)


def test_the_configuration_has_what_peft_and_vllm_read(result: TrainResult) -> None:
    config = json.loads((result.folder / "adapter_config.json").read_bytes())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "CAUSAL_LM"
    assert (config["r"], config["lora_alpha"], config["bias"]) == (4, 8, "none")
    assert config["layers_to_transform"] == [2, 3]
    assert config["base_model_name_or_path"] == "tiny"
    assert len(config["target_modules"]) == 7


def test_the_index_fits_the_adapter_and_has_a_row_for_everyone(result: TrainResult) -> None:
    index = ContributionIndex.open(result.folder / "contribution_index.safetensors")
    assert index.header.parameters == Adapter.load(result.folder).parameters == result.parameters
    assert index.header.contributors == tuple(result.contributors)
    assert index.header.placebos == 2
    assert root(index).hex() == result.index_root
    assert all(abs(index.row(number).to_float()).max() > 0 for number in range(6))


def test_the_same_run_gives_the_same_bytes_and_another_seed_does_not(
    result: TrainResult, examples: tuple[Example, ...], base: Path, tmp_path: Path
) -> None:
    again = train(spec(held_out=0.2), examples[::-1], base, tmp_path / "again")
    other = train(spec(held_out=0.2, seed=4), examples, base, tmp_path / "other")
    for file in (*FILES, MOMENT):
        assert (again.folder / file).read_bytes() == (result.folder / file).read_bytes(), file
    assert again.index_root == result.index_root
    assert other.index_root != result.index_root


def test_bfloat16_products_learn_and_attribute_nearly_the_same(
    result: TrainResult, examples: tuple[Example, ...], base: Path, tmp_path: Path
) -> None:
    coarse = train(spec(held_out=0.2, precision="bfloat16"), examples, base, tmp_path / "out")
    assert coarse.metrics["loss_before"] == result.metrics["loss_before"]
    assert coarse.metrics["loss_after"] == pytest.approx(result.metrics["loss_after"], abs=0.02)
    fine_index, coarse_index = (ContributionIndex.open(r.folder / FILES[2]) for r in (result, coarse))
    for row in range(4):
        a, b = fine_index.row(row).to_float(), coarse_index.row(row).to_float()
        assert float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) > 0.85


@pytest.mark.parametrize(
    ("flags", "expected"),
    (("flags : fpu avx512_bf16 avx", "bfloat16"), ("Features : asimd bf16", "bfloat16"), ("flags : avx2", "float32")),
)
def test_bfloat16_only_where_the_cpu_has_it(flags: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(flags)
    assert fastest_precision(tmp_path / "cpuinfo") == expected
    assert fastest_precision(tmp_path / "absent") == "float32"


def test_progress_tells_phase_step_loss_speed_and_time_left(result: TrainResult, events: list[Progress]) -> None:
    phases = [event.phase for event in events]
    assert list(dict.fromkeys(phases)) == ["loading", "preparing", "evaluating", "training", "writing"]
    training = [event for event in events if event.phase == "training"]
    assert [event.step for event in training] == [1, 2, 3, 4, 5, 6]
    assert all(event.steps == 6 for event in events)
    assert tuple(event.loss for event in training) == result.losses
    assert all(event.tokens_per_second and event.tokens_per_second > 0 for event in training)
    assert all(event.seconds_left is not None and event.seconds_left >= 0 for event in events[1:])
    assert events[-1].seconds_left == pytest.approx(0.0, abs=1e-6)


def test_cancelling_stops_at_once_and_writes_nothing(examples: tuple[Example, ...], base: Path, tmp_path: Path) -> None:
    events: list[Progress] = []
    with pytest.raises(Cancelled):
        train(spec(), examples, base, tmp_path / "out", events.append, lambda: events[-1].step == 2)
    assert events[-1].step == 2
    assert not (tmp_path / "out").exists()


def test_a_loss_that_explodes_fails_clearly_and_writes_nothing(
    examples: tuple[Example, ...], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.factory.training_run.learning_rate", lambda spec, step, steps: 1e30)
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train(spec(), examples, base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def bad(**changes: Any) -> Example:
    fields: dict[str, Any] = {"record": "r", "contributor": "0x" + "0" * 40, "prompt": (1,), "completion": (2,)}
    return Example(**(fields | changes))


@pytest.mark.parametrize(
    ("data", "settings", "reason"),
    (
        ((), {}, "no record"),
        ((bad(), bad()), {}, "more than once"),
        ((bad(contributor="0xABC"),), {}, "address"),
        ((bad(completion=()),), {}, "empty"),
        ((bad(completion=(260,)),), {}, "does not have"),
        ((bad(prompt=(1,) * 600),), {}, "context of 512"),
        ((bad(),), {"layers": 5}, "has 4 layers"),
    ),
)
def test_unfit_data_is_refused_before_anything_is_computed(
    data: tuple[Example, ...], settings: dict[str, Any], reason: str, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=reason):
        train(spec(**settings), data, base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_record_is_enough(base: Path, tmp_path: Path) -> None:
    result = train(spec(epochs=1, layers=4), [bad()], base, tmp_path / "out")
    assert result.contributors == {"0x" + "0" * 40: 1}
    assert "loss_after" not in result.metrics


# --- held-out loss while training -------------------------------------------------------------------------------------


def evaluations(result: TrainResult) -> list[tuple[int, float]]:
    document = json.loads((result.folder / "training.json").read_bytes())
    return [(step, loss) for step, loss in document["evaluations"]]


def test_held_out_loss_is_measured_on_the_way_and_at_the_end(result: TrainResult) -> None:
    assert [step for step, _ in evaluations(result)] == [1, 2, 3, 4, 5, 6]
    assert evaluations(result)[-1][1] == pytest.approx(result.metrics["loss_after"])


def test_what_stops_getting_better_is_stopped_and_the_best_is_kept(
    examples: tuple[Example, ...], base: Path, tmp_path: Path
) -> None:
    settings = {"held_out": 0.2, "epochs": 40, "learning_rate": 0.03, "schedule": "constant", "evaluations": 80}
    patient = train(spec(**settings, patience=5), examples, base, tmp_path / "patient")
    steps = int(patient.metrics["steps"])
    best = min(evaluations(patient), key=lambda entry: entry[1])
    assert steps == best[0] < 80
    assert evaluations(patient)[-1][0] == steps + 5
    assert patient.metrics["loss_after"] == pytest.approx(best[1], abs=1e-6)
    # The displacements that are published are those of the weights that are published.
    whole = train(spec(**settings), examples, base, tmp_path / "whole")
    assert whole.index_root != patient.index_root
    assert whole.metrics["loss_after"] > patient.metrics["loss_after"]


# --- canaries ---------------------------------------------------------------------------------------------------------


def test_canaries_are_trained_on_and_are_nobodys(examples: tuple[Example, ...], base: Path, tmp_path: Path) -> None:
    canary = Example("canaries/1", "", (1, 5, 6), (7, 8, 2))
    result = train(spec(), examples, base, tmp_path / "out", canaries=[canary])
    assert sum(result.contributors.values()) == result.metrics["records"] == len(examples)
    without = train(spec(), examples, base, tmp_path / "without")
    assert without.contributors == result.contributors
    assert without.index_root != result.index_root


# --- crashes ----------------------------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_goes_on_and_gives_the_same_bytes(
    examples: tuple[Example, ...], base: Path, tmp_path: Path
) -> None:
    settings = spec(held_out=0.2, epochs=4, patience=20, clip_norm=1.0, weight_decay=0.1, curvature_samples=2)
    whole = train(settings, examples, base, tmp_path / "whole")
    scratch = Scratch(tmp_path / "scratch", seconds=0.0)
    for stop in (3, 3, 6):
        seen: list[Progress] = []
        with pytest.raises(Cancelled):
            train(
                settings,
                examples,
                base,
                tmp_path / "out",
                seen.append,
                lambda s=stop, e=seen: e[-1].step >= s,
                scratch=scratch,
            )
    events: list[Progress] = []
    resumed = train(settings, examples, base, tmp_path / "out", events.append, scratch=scratch)
    first = next(event for event in events if event.phase == "training")
    assert first.step == 6
    assert first.tokens is not None
    assert seen[-1].tokens is not None
    assert first.tokens >= seen[-1].tokens, "tokens go on from where they were, as steps do"
    for file in (*FILES, MOMENT):
        assert (resumed.folder / file).read_bytes() == (whole.folder / file).read_bytes(), file


def test_a_damaged_checkpoint_costs_time_only(examples: tuple[Example, ...], base: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "checkpoint.safetensors").write_bytes(b"\0" * 100)
    again = train(spec(epochs=1), examples, base, tmp_path / "a", scratch=Scratch(scratch))
    plain = train(spec(epochs=1), examples, base, tmp_path / "b")
    assert again.index_root == plain.index_root


@needs("mount")
def test_a_disk_that_is_full_at_a_checkpoint_costs_nothing_that_was_there(
    examples: tuple[Example, ...], base: Path, tmp_path: Path
) -> None:
    """The earlier checkpoint stays, whole, and with room again the run ends with the bytes of one undisturbed."""
    settings = spec(epochs=4)
    whole = train(settings, examples, base, tmp_path / "whole")
    with small_disk(tmp_path / "disk", 8) as disk:
        scratch = Scratch(disk.folder / "scratch", seconds=0.0)

        def fill(progress: Progress) -> None:
            if progress.phase == "training" and progress.step == 3:
                disk.fill(leave=1000)

        with pytest.raises((OSError, SafetensorError)) as error:
            train(settings, examples, base, tmp_path / "out", fill, scratch=scratch)
        assert inputs.is_disk_full(error.value)
        assert [file.name for file in scratch.folder.iterdir()] == ["checkpoint.safetensors"]
        assert not (tmp_path / "out").exists()
        disk.free()
        events: list[Progress] = []
        again = train(settings, examples, base, tmp_path / "out", events.append, scratch=scratch)
    assert next(event.step for event in events if event.phase == "training") > 0
    assert again.index_root == whole.index_root


# --- knobs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ("rslora", "dora"))
def test_kinds_of_lora_are_what_peft_computes(
    kind: str, examples: tuple[Example, ...], base: Path, tmp_path: Path
) -> None:
    result = train(spec(held_out=0.2, **{kind: True}), examples, base, tmp_path / "out")
    assert json.loads((result.folder / "adapter_config.json").read_bytes())[f"use_{kind}"] is True
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), result.folder)
    _, held_out = split(examples, 0.2, seed=3)
    losses = []
    for example in held_out:
        ids = torch.tensor([[*example.prompt, *example.completion]])
        labels = torch.tensor([[-100] * len(example.prompt) + list(example.completion)])
        losses.append(model(input_ids=ids, labels=labels).loss.item())
    assert sum(losses) / len(losses) == pytest.approx(result.metrics["loss_after"], abs=1e-4)


def test_the_index_holds_the_magnitudes_part_of_dora(examples: tuple[Example, ...], base: Path, tmp_path: Path) -> None:
    settings = spec(dora=True, clip_norm=1.0, weight_decay=0.1)
    one, two = (train(settings, examples, base, tmp_path / name) for name in ("one", "two"))
    assert one.index_root == two.index_root
    index = ContributionIndex.open(one.folder / "contribution_index.safetensors")
    assert index.header.parameters == Adapter.load(one.folder).parameters
    magnitudes = [n for n, p in enumerate(index.header.parameters) if p.name.endswith(MAGNITUDE)]
    assert len(magnitudes) == 2 * 7
    ends = np.cumsum(index.header.sizes)
    for n in magnitudes:
        assert np.abs(index.vectors[: len(one.contributors), ends[n - 1] : ends[n]]).max(axis=1).min() > 0


def test_all_layers_and_some_targets(examples: tuple[Example, ...], base: Path, tmp_path: Path) -> None:
    result = train(spec(layers=0, targets=("v_proj", "q_proj"), epochs=1), examples, base, tmp_path / "out")
    config = json.loads((result.folder / "adapter_config.json").read_bytes())
    assert config["layers_to_transform"] == [0, 1, 2, 3]
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert len(result.parameters) == 4 * 2 * 2


def test_the_curvature_of_some_records_is_enough_to_train(
    examples: tuple[Example, ...], base: Path, tmp_path: Path
) -> None:
    """The adapter is the same whatever the curvature is estimated on; the index is not."""
    whole = train(spec(), examples, base, tmp_path / "whole")
    part = train(spec(curvature_share=0.25), examples, base, tmp_path / "part")
    more = train(spec(curvature_samples=3), examples, base, tmp_path / "more")
    weights = [(r.folder / "adapter_model.safetensors").read_bytes() for r in (whole, more)]
    assert weights[0] == weights[1]
    a, b = (Adapter.load(r.folder).tensors for r in (whole, part))
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < 1e-4  # other chunks, other rounding
    assert len({whole.index_root, part.index_root, more.index_root}) == 3


# --- what grows beyond all measure ------------------------------------------------------------------------------------


def diverges(examples: tuple[Example, ...], base: Path, out: Path, **settings: Any) -> str:
    """What is said of a run that must fail as one whose numbers are none, and leave nothing."""
    with pytest.raises(Diverged) as error:
        train(spec(**settings), examples, base, out)
    assert not (out / FILES[1]).exists()
    return str(error.value)


def test_a_held_out_loss_that_is_no_number_after_the_last_step_is_told(
    examples: tuple[Example, ...], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = TrainingRun.evaluate

    def overflows(run: TrainingRun, held_out: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        losses, accuracy = measure(run, held_out)
        return (losses + math.inf if run.done == len(run.plan) else losses), accuracy

    monkeypatch.setattr(TrainingRun, "evaluate", overflows)
    said = diverges(examples, base, tmp_path / "out", held_out=0.2)
    assert said == "the loss of the held-out records became inf after step 6: lower the learning rate"


def test_a_base_that_cannot_be_measured_is_told(
    examples: tuple[Example, ...], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = torch.full((4,), math.nan)
    monkeypatch.setattr(TrainingRun, "evaluate", lambda *_: (nothing, nothing))
    assert "the base model's loss of the held-out records is nan" in diverges(examples, base, tmp_path, held_out=0.2)


def test_a_contributors_vector_that_is_no_number_is_told(
    examples: tuple[Example, ...], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector = ShadowTrajectories.vector
    monkeypatch.setattr(ShadowTrajectories, "vector", lambda self, row: vector(self, row) * (math.inf if row else 1))
    assert "beyond all measure" in diverges(examples, base, tmp_path)


def test_curvature_that_cannot_be_solved_for_is_told(
    examples: tuple[Example, ...], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def singular(*_: Any) -> None:
        torch.linalg.solve(torch.zeros(2, 2), torch.ones(2))

    monkeypatch.setattr(ShadowTrajectories, "step", singular)
    assert "the curvature of step 1 cannot be solved for" in diverges(examples, base, tmp_path)


def test_the_highest_learning_rate_of_all_trains_or_says_that_it_diverged(
    examples: tuple[Example, ...], base: Path, tmp_path: Path
) -> None:
    try:
        result = train(spec(held_out=0.2, learning_rate=0.1, epochs=10), examples, base, tmp_path / "out")
    except Diverged:
        return
    assert all(map(math.isfinite, result.losses))
