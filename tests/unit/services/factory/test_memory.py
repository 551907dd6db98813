from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.base_model_shape import BaseModelShape
from openledger.influence.adapter_config import ALL_LINEAR, AdapterConfig
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter
from services.factory.memory import FIXED, adapter_parameters, machine_bytes, training_bytes
from services.factory.schedule import seeded
from services.factory.spec import FineTuneSpec


@pytest.fixture(scope="module")
def shape(base):
    return BaseModelShape.read(base)


def test_the_shape_is_the_models(base, shape):
    model = Decoder.load(base).model
    weights = {id(p): p.numel() for name, p in model.named_parameters() if "norm" not in name}
    assert shape.parameters() == sum(weights.values())


@pytest.mark.parametrize("targets", ("all-linear", ("q_proj", "down_proj")))
@pytest.mark.parametrize("layers", (1, 0))
@pytest.mark.parametrize("dora", (False, True))
def test_trained_weights_are_counted_as_they_are_made(base, shape, targets, layers, dora):
    spec = FineTuneSpec(rank=4, layers=layers, targets=targets, dora=dora)
    decoder = Decoder.load(base)
    chosen = tuple(range(decoder.layers - (layers or decoder.layers), decoder.layers))
    config = AdapterConfig("tiny", 4, 8, spec.target_modules, chosen, dora=dora)
    adapter = Adapter.initialise(config, decoder.model, seeded(0, "initialise"))
    assert adapter_parameters(shape, spec) == sum(tensor.numel() for tensor in adapter.tensors.values())


def test_more_of_anything_needs_more(shape):
    spec = FineTuneSpec()
    least = training_bytes(shape, spec, 4, 1000)
    assert least > FIXED
    assert training_bytes(shape, spec, 40, 1000) > least
    assert training_bytes(shape, spec, 4, 100_000) > least


@pytest.mark.parametrize(
    "change", ({"rank": 64}, {"batch_size": 64}, {"placebos": 9}, {"max_length": 4096}, {"dora": True})
)
def test_a_larger_run_needs_more(shape, change):
    spec = FineTuneSpec(layers=2)
    assert training_bytes(shape, replace(spec, **change), 4, 1000) > training_bytes(shape, spec, 4, 1000)
    assert training_bytes(shape, replace(spec, layers=0), 4, 1000) > training_bytes(shape, spec, 4, 1000)


def test_memory_is_bounded_by_the_contributors_that_are_followed_at_once(shape):
    spec = FineTuneSpec()
    assert training_bytes(shape, spec, 1000, 0) == training_bytes(shape, spec, 256, 0)
    assert training_bytes(shape, replace(spec, contributors_at_once=1000), 1000, 0) > training_bytes(
        shape, spec, 1000, 0
    )
    assert training_bytes(shape, replace(spec, patience=1), 256, 0) > training_bytes(shape, spec, 256, 0)


def test_a_hundred_contributors_cost_three_adapters_each(shape):
    spec = FineTuneSpec(targets=ALL_LINEAR)
    each = (training_bytes(shape, spec, 101, 0) - training_bytes(shape, spec, 1, 0)) / 100
    assert each == 3 * 4 * adapter_parameters(shape, spec)


@pytest.mark.parametrize(("told", "fits"), (("max", False), ("1048576", True), (str(2**60), False)))
def test_a_container_has_no_more_than_it_may_take(tmp_path, told, fits):
    (tmp_path / "memory.max").write_text(told + "\n")
    machine = machine_bytes(tmp_path / "nothing")
    assert machine > 2**20
    assert machine_bytes(tmp_path / "memory.max") == (2**20 if fits else machine)
