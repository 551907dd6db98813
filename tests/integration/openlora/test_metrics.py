"""What an operator sees of a service that is asked, in Prometheus' format."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.openlora_world import until


def samples(world) -> dict[str, dict[tuple[str, ...], float]]:
    """As a scrape gives them: by name, by the values of their labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(world.assembly.metrics.registry).decode()):
        for sample in family.samples:
            name = sample.name.removeprefix("openledger_openlora_")
            found.setdefault(name, {})[tuple(sample.labels[key] for key in sorted(sample.labels))] = sample.value
    return found


async def test_what_runs_what_waits_and_where_adapters_are(world, engine):
    one, two = world.publish("one", weights=b"1"), world.publish("two", weights=b"2")
    async with world.life(engine, max_active_adapters=1, max_running=4) as client:
        engine.gate.clear()
        asked = []
        for number in (1, 2):
            asked.append(asyncio.create_task(world.ask(client, f"{number}", model=one)))
            await until(lambda: world.gauge("running") == len(asked))
        asked.append(asyncio.create_task(world.ask(client, "3", model=two)))
        await until(lambda: samples(world)["adapters"] == {("ready",): 2})
        seen = await asyncio.to_thread(samples, world)
        engine.gate.set()
        await asyncio.gather(*asked)
        after = samples(world)
    assert seen["queued_by_tenant"] == {(world.wallet.account,): 1}
    assert seen["queued_by_adapter"] == {(two[: len(two) - 64 + 12],): 1}
    assert seen["adapters"] == {("ready",): 2}
    assert list(seen["vllm:lora_requests_info"]) == [("1", one, two)]
    assert seen["adapter_loads_total"] == {(): 2}
    assert seen["adapter_hits_total"] == {(): 1}
    assert "queued_by_tenant" not in after
    assert list(after["vllm:lora_requests_info"]) == [("1", "", "")]


async def test_tokens_by_adapter_and_the_time_between_them(world, engine):
    model = world.publish()
    async with world.life(engine, lease_chunk=10**18) as client:
        answers = [await world.ask(client, "?", model=model) for _ in range(3)]
        base = await world.ask(client, "?")
        seen = samples(world)
    fees = sum(int(answer.summary.fee) for answer in (*answers, base))
    assert seen["lease_free"][()] == seen["leases"][()] * 10**18 - fees
    tokens = sum(answer.summary.tokens_out for answer in answers)
    served = seen["served_tokens_by_adapter_total"]
    assert served == {(model[: len(model) - 64 + 12],): tokens, ("base",): base.summary.tokens_out}
    assert seen["inter_token_seconds_count"][()] == tokens + base.summary.tokens_out - 4
    assert seen["inter_token_seconds_sum"][()] == pytest.approx(0, abs=5)
