"""Labels for those that count most, however many names there are."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry, Counter

from services.openlora.busiest import OTHER, Busiest, label, top


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def busiest(registry: CollectorRegistry, **more: int) -> Busiest:
    return Busiest(Counter("served", "served", ("by",), registry=registry), **more)


def series(registry: CollectorRegistry) -> dict[str, float]:
    [metric] = registry.collect()
    return {sample.labels["by"]: sample.value for sample in metric.samples if sample.name == "served_total"}


def test_a_revision_is_shown_by_its_first_digits():
    assert label("adapters/verse/revisions/" + "0123456789abcdef" * 4) == "adapters/verse/revisions/0123456789ab"
    assert label("base") == "base"


def test_the_greatest_are_named_and_the_others_put_together():
    assert top({"a": 1, "b": 5, "c": 2, "d": 3}, most=2) == {"b": 5, "d": 3, OTHER: 3}
    assert top({"a": 1, "b": 0}, most=2) == {"a": 1}
    assert top({}) == {}


def test_every_token_is_counted_somewhere(registry):
    counted = busiest(registry, most=2)
    for name, amount in (("a", 3), ("b", 2), ("c", 4), ("a", 1)):
        counted.add(name, amount)
    assert series(registry) == {"a": 4, "b": 2, OTHER: 4}


def test_whoever_becomes_busy_gets_a_name_and_whoever_is_so_no_more_loses_it(registry):
    counted = busiest(registry, most=1, every=100)
    counted.add("before", 60)
    counted.add("now", 40)
    for _ in range(4):
        counted.add("now", 50)
    assert series(registry) == {OTHER: 40 + 100, "now": 100}


def test_many_names_take_no_more_than_a_few_labels(registry):
    counted, chance = busiest(registry, most=3), random.Random(1)
    for number in range(20_000):
        counted.add(f"seldom {number}", 1)
        counted.add(f"often {chance.randrange(2)}", 1)
    assert {"often 0", "often 1", OTHER} <= set(series(registry))
    assert len(series(registry)) <= 4
    assert len(counted._counts) <= 2000
