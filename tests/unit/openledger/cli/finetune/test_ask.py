from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openledger.cli.finetune.ask import Asked, name_of, names_of
from openledger.factory.v1 import factory_pb2 as pb


def asked(**values: Any) -> Asked:
    nothing: dict[str, Any] = {
        "file": None,
        "adapter": "",
        "base": "",
        "snapshots": (),
        "prompt": "",
        "completion": "",
        "non_commercial": False,
        "settings": (),
    }
    return Asked(**(nothing | values))


def test_what_is_not_said_is_not_asked() -> None:
    assert asked().changes() == pb.FineTuneSpec()


def test_options_become_a_specification() -> None:
    spec = asked(base="tiny", snapshots=("a", "b"), prompt="{q}", completion="{a}", non_commercial=True).changes()
    assert spec == pb.FineTuneSpec(
        base="tiny",
        snapshots=["a", "b"],
        prompt_template="{q}",
        completion_template="{a}",
        use=pb.USE_NON_COMMERCIAL,
    )


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    (
        ("rank=16", "rank", 16),
        ("layers=0", "layers", 0),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("schedule=linear", "schedule", "linear"),
        ("leave_one_out=true", "leave_one_out", True),
        ("dora=No", "dora", False),
        ("targets=q_proj, v_proj", "targets", ["q_proj", "v_proj"]),
        ("use=non-commercial", "use", pb.USE_NON_COMMERCIAL),
        ("prompt_template=a=b {q}", "prompt_template", "a=b {q}"),
    ),
)
def test_a_setting_is_taken_by_its_type(setting: str, field: str, value: object) -> None:
    spec = asked(settings=(setting,)).changes()
    assert getattr(spec, field) == value
    if not spec.DESCRIPTOR.fields_by_name[field].is_repeated and field not in {"use", "prompt_template"}:
        assert spec.HasField(field), "zero that was said is not the same as nothing said"


@pytest.mark.parametrize(
    "setting", ("colour=red", "rank", "rank=many", "rank=-1", "dora=perhaps", "use=military", "=8", "seed=99999999999")
)
def test_a_setting_that_there_is_not_is_named(setting: str) -> None:
    with pytest.raises(ValueError, match=f"--set '{setting}'"):
        asked(settings=(setting,)).changes()


def test_a_run_file_is_asked_for_by_its_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("version: x")
    request = asked(file=tmp_path / "run.yaml").request(pb.CreateFineTuneRequest, adapter_id="herbs")
    assert request == pb.CreateFineTuneRequest(run_file="version: x", adapter_id="herbs")


@pytest.mark.parametrize("more", ({"base": "tiny"}, {"settings": ("rank=8",)}, {"snapshots": ("a",)}))
def test_a_run_file_says_everything(tmp_path: Path, more: dict[str, Any]) -> None:
    (tmp_path / "run.yaml").write_text("version: x")
    with pytest.raises(ValueError, match="a run file says everything"):
        asked(file=tmp_path / "run.yaml", **more).request(pb.EstimateFineTuneRequest)


def test_the_shipped_base_is_the_default_of_a_new_run_only() -> None:
    assert asked().request(pb.EstimateFineTuneRequest).spec.base == "smollm2-135m-instruct"
    assert asked().changes().base == ""


def test_a_bare_id_is_a_name() -> None:
    assert name_of("abc") == name_of("fineTunes/abc") == "fineTunes/abc"
    assert names_of(["a", "fineTunes/b"]) == ["fineTunes/a", "fineTunes/b"]
