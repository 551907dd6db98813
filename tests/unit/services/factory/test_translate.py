from __future__ import annotations

import pytest

from openledger.factory.v1 import factory_pb2 as pb
from services.factory import translate
from services.factory.spec import FineTuneSpec
from services.kit.errors import Fault
from tests.factory_world import SNAPSHOT

ASKED = {"base": "tiny", "prompt_template": "{q}", "completion_template": "{a}"}


def test_what_is_unset_takes_the_default_and_is_shown():
    spec = translate.spec_from(pb.FineTuneSpec(snapshots=[SNAPSHOT], **ASKED), "bfloat16")
    assert spec == FineTuneSpec(precision="bfloat16", **ASKED)
    shown = translate.spec_to(spec, SNAPSHOT)
    assert (shown.rank, shown.epochs, shown.precision, shown.targets) == (8, 3, "bfloat16", ["all-linear"])
    assert translate.spec_from(shown, "float32") == spec


def test_zero_that_was_asked_for_is_not_a_default():
    spec = translate.spec_from(pb.FineTuneSpec(seed=0, held_out=0.0, **ASKED), "float32")
    assert spec.held_out == 0.0


def test_every_field_of_a_specification_has_its_place_in_the_api():
    spec = FineTuneSpec(
        rank=3, alpha=5, layers=2, epochs=7, batch_size=9, learning_rate=0.02, precision="bfloat16", seed=11,
        max_length=99, placebos=4, held_out=0.25, rslora=True, dora=True, targets=("q_proj", "v_proj"),
        schedule="linear", warm_up=0.5, weight_decay=0.01, clip_norm=2.0, evaluations=3, patience=2,
        curvature_samples=2, curvature_share=0.5, canaries=6, halves=8, leave_one_out=True, **ASKED,
    )  # fmt: skip
    message = translate.spec_to(spec, SNAPSHOT)
    assert {f.name for f, _ in message.ListFields()} == {f.name for f in pb.FineTuneSpec.DESCRIPTOR.fields}
    assert translate.spec_from(message, "float32") == spec


def test_a_value_that_no_run_can_have_names_its_field():
    with pytest.raises(Fault) as fault:
        translate.spec_from(pb.FineTuneSpec(precision="float7", **ASKED), "float32")
    assert (fault.value.reason, fault.value.fields[0][0]) == ("BAD_SPEC", "spec.precision")
