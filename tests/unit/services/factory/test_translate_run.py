from __future__ import annotations

import pytest

from openledger.factory.v1 import factory_pb2 as pb
from services.factory import run_file
from services.factory.licence import Use
from services.factory.run import Run, SnapshotPin
from services.factory.spec import FineTuneSpec
from services.factory.translate_run import changed, run_from, spec_to
from services.kit.errors import Fault
from tests.factory_world import SECOND, SNAPSHOT

ASKED = {"base": "tiny", "prompt_template": "{q}", "completion_template": "{a}"}
SPEC = pb.FineTuneSpec(snapshots=[SNAPSHOT], **ASKED)
RUN = Run("letters", (SnapshotPin(SNAPSHOT, "aa" * 32),), FineTuneSpec(seed=7, **ASKED), base_sha256="bb" * 32)


def of(spec, precision="float32"):
    return run_from(spec, "", "letters", precision)


def test_what_is_unset_takes_the_default_and_is_shown():
    run = of(SPEC, "bfloat16")
    assert run.spec == FineTuneSpec(precision="bfloat16", **ASKED)
    assert (run.use, run.snapshots) == (Use.COMMERCIAL, (SnapshotPin(SNAPSHOT),))
    shown = spec_to(run)
    assert (shown.rank, shown.epochs, shown.precision, shown.targets) == (8, 3, "bfloat16", ["all-linear"])
    assert of(shown) == run


def test_zero_that_was_asked_for_is_not_a_default():
    asked = pb.FineTuneSpec(seed=0, held_out=0.0, layers=0, snapshots=[SNAPSHOT], **ASKED)
    assert (of(asked).spec.held_out, of(asked).spec.layers) == (0.0, 0)


@pytest.mark.parametrize("either", ({"dora": True}, {"quantise": "nf4"}))
def test_every_field_of_a_specification_has_its_place_in_the_api(either):
    spec = FineTuneSpec(
        rank=3, alpha=5, layers=2, epochs=7, batch_size=9, learning_rate=0.02, precision="bfloat16", seed=11,
        max_length=99, placebos=4, held_out=0.25, rslora=True, targets=("q_proj", "v_proj"),
        schedule="linear", warm_up=0.5, weight_decay=0.01, clip_norm=2.0, evaluations=3, patience=2,
        curvature_samples=2, curvature_share=0.5, canaries=6, halves=8, leave_one_out=True, **either, **ASKED,
    )  # fmt: skip
    run = Run("letters", (SnapshotPin(SNAPSHOT), SnapshotPin(SECOND)), spec, Use.NON_COMMERCIAL)
    message = spec_to(run)
    assert {f.name for f, _ in message.ListFields()} == {f.name for f in pb.FineTuneSpec.DESCRIPTOR.fields}
    assert of(message) == run


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    (
        ({"precision": "float7"}, "BAD_SPEC", "spec.precision"),
        ({"targets": ["all-linear", "q_proj"]}, "BAD_SPEC", "spec.targets"),
        ({"snapshots": [SNAPSHOT, SNAPSHOT]}, "BAD_SPEC", "spec.snapshots"),
        ({"base": ""}, "INVALID_FIELD", "spec.base"),
        ({"snapshots": []}, "INVALID_FIELD", "spec.snapshots"),
        ({"completion_template": ""}, "INVALID_FIELD", "spec.completion_template"),
    ),
)
def test_a_value_that_no_run_can_have_names_its_field(change, reason, field):
    with pytest.raises(Fault) as fault:
        of(pb.FineTuneSpec(**({"snapshots": [SNAPSHOT]} | ASKED | change)))
    assert (fault.value.reason, fault.value.fields[0][0]) == (reason, field)


def test_a_run_file_says_the_same_as_a_message():
    text = run_file.dump(RUN)
    assert run_from(None, text, "", "bfloat16") == RUN
    assert run_from(None, text, "others", "bfloat16").adapter == "others"


@pytest.mark.parametrize(
    ("spec", "text", "adapter", "reason"),
    (
        (None, "", "letters", "INVALID_FIELD"),
        (SPEC, run_file.dump(RUN), "letters", "INVALID_FIELD"),
        (SPEC, "", "", "INVALID_FIELD"),
        (None, "a: [", "letters", "BAD_RUN_FILE"),
        (None, run_file.dump(RUN).replace("rank: 8", "rank: 0"), "", "BAD_RUN_FILE"),
    ),
)
def test_a_request_that_says_nothing_or_two_things_is_refused(spec, text, adapter, reason):
    with pytest.raises(Fault) as fault:
        run_from(spec, text, adapter, "float32")
    assert fault.value.reason == reason


def test_a_clone_has_what_is_changed_and_keeps_the_rest_with_its_hashes():
    assert changed(RUN, pb.FineTuneSpec(), "") == RUN
    clone = changed(RUN, pb.FineTuneSpec(seed=0, epochs=9, use=pb.USE_NON_COMMERCIAL), "others")
    assert clone == Run(
        "others", RUN.snapshots, FineTuneSpec(seed=0, epochs=9, **ASKED), Use.NON_COMMERCIAL, RUN.base_sha256
    )


def test_hashes_of_what_a_clone_changes_are_not_pinned():
    clone = changed(RUN, pb.FineTuneSpec(base="other", snapshots=[SECOND, SNAPSHOT]), "")
    assert clone.base_sha256 == ""
    assert clone.snapshots == (SnapshotPin(SNAPSHOT, "aa" * 32), SnapshotPin(SECOND))


def test_a_change_that_no_run_can_have_is_refused():
    with pytest.raises(Fault) as fault:
        changed(RUN, pb.FineTuneSpec(patience=3, evaluations=0), "")
    assert (fault.value.reason, fault.value.fields[0][0]) == ("BAD_SPEC", "spec.patience")
