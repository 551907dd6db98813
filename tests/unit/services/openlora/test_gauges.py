"""What a look at the service's metrics shows of the moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from services.openlora import gauges
from services.openlora.adapters import State, Status
from services.openlora.admission import Admission, Ask, Bounds
from services.openlora.gauges import Gauges, Numbers
from tests.turns_world import settle, taken

REVISION = "adapters/{}/revisions/" + "0123456789abcdef" * 4


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


class Kept:
    def __init__(self) -> None:
        self.counts = Counter(hit=3, loaded=2)

    def statuses(self) -> list[Status]:
        there = {"one": State.READY, "two": State.READY, "three": State.FAILED}
        there |= {f"a{number}": State.EVICTED for number in range(100)}
        return [Status(REVISION.format(name), state) for name, state in there.items()]


@pytest.fixture
async def looked(registry):
    """Begins requests on an engine with two turns and one slot; gives what one sees then."""
    end, tasks = asyncio.Event(), []
    admission = Admission(Bounds(2, 200, slots=1))
    registry.register(Gauges(admission, 1, Kept()))

    async def looked(*asks: tuple[str, str]):
        tasks.extend(asyncio.create_task(taken(admission, Ask(tenant, model, 1, 1), end)) for tenant, model in asks)
        await settle()
        return {metric.name: metric.samples for metric in registry.collect()}

    yield looked
    end.set()
    await asyncio.gather(*tasks)


def by(samples, name: str) -> dict[str, float]:
    return {sample.labels[name]: sample.value for sample in samples}


async def test_it_shows_who_waits_and_for_what(looked):
    one, two = REVISION.format("one"), REVISION.format("two")
    seen = await looked(("a", one), ("a", two), ("a", two), ("b", "base"), ("b", "base"))
    assert by(seen["openledger_openlora_queued_by_tenant"], "tenant") == {"a": 2, "b": 1}
    short = "adapters/two/revisions/0123456789ab"
    assert by(seen["openledger_openlora_queued_by_adapter"], "adapter") == {short: 2, "base": 1}
    assert by(seen["openledger_openlora_adapters"], "state") == {
        "ready": 2,
        "failed": 1,
        "evicted": 100,
    }
    counts = {
        name: samples[0].value for name, samples in seen.items() if name.startswith("openledger_openlora_adapter_")
    }
    assert counts == {
        "openledger_openlora_adapter_hits": 3,
        "openledger_openlora_adapter_loads": 2,
        "openledger_openlora_adapter_evictions": 0,
    }


async def test_gateways_see_what_runs_and_what_waits_in_full(looked):
    one, two, three = (REVISION.format(name) for name in ("one", "two", "three"))
    [info] = (await looked(("a", one), ("a", two), ("b", three), ("b", three), ("b", "base")))[
        "vllm:lora_requests_info"
    ]
    assert info.labels == {
        "max_lora": "1",
        "running_lora_adapters": one,
        "waiting_lora_adapters": f"{three},{two}",
    }
    assert abs(info.value - time.time()) < 60


async def test_what_there_is_not_is_not_named_whatever_is_asked_for(looked):
    one, made_up = REVISION.format("one"), f"{REVISION.format('two')},{REVISION.format('three')}"
    seen = await looked(("a", "base"), ("a", "base"), ("b", one), ("b", one), ("b", made_up), ("c", "any text"))
    assert seen["vllm:lora_requests_info"][0].labels["waiting_lora_adapters"] == one
    short = "adapters/one/revisions/0123456789ab"
    assert by(seen["openledger_openlora_queued_by_adapter"], "adapter") == {short: 2, "other": 2}


async def test_an_idle_service_shows_itself_too(looked, registry):
    [info] = (await looked())["vllm:lora_requests_info"]
    assert info.labels == {"max_lora": "1", "running_lora_adapters": "", "waiting_lora_adapters": ""}
    assert b'vllm:lora_requests_info{max_lora="1"' in generate_latest(registry)


async def test_a_hundred_tenants_take_few_labels(looked):
    seen = await looked(*((f"tenant {number}", REVISION.format(f"a{number}")) for number in range(100)))
    tenants = by(seen["openledger_openlora_queued_by_tenant"], "tenant")
    assert len(tenants) == 11
    assert sum(tenants.values()) == 99
    [info] = seen["vllm:lora_requests_info"]
    assert len(info.labels["waiting_lora_adapters"].split(",")) == 50


async def test_who_looks_from_another_thread_sees_through_the_loop(registry):
    threads = []

    def read() -> float:
        threads.append(threading.current_thread())
        return 7

    registry.register(Numbers({"things": ("How many there are", read)}))
    text = await asyncio.to_thread(generate_latest, registry)
    assert b"openledger_openlora_things 7.0" in text
    assert threads == [threading.current_thread()]


async def test_while_the_loop_is_stuck_the_other_metrics_can_be_seen(registry, monkeypatch):
    monkeypatch.setattr(gauges, "_LOOK_SECONDS", 0.05)
    registry.register(Numbers({"things": ("How many there are", lambda: 7)}))
    Gauge("others", "other metrics", registry=registry).set(1)
    seen: list[bytes] = []
    scrape = threading.Thread(target=lambda: seen.append(generate_latest(registry)))
    scrape.start()
    scrape.join()  # in the loop, which it holds up
    assert b"others 1.0" in seen[0]
    assert b"things" not in seen[0]
