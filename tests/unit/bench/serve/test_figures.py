"""From rows to figures and a picture, and what counts as wrong after kills."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bench.serve import adapters, arms, crash, fair, plots, replayed, soak
from bench.serve.crash import Books
from bench.serve.load import Ask, Told


def pair(kind: dict[str, str], arm: str, *rates: float) -> list[dict[str, object]]:
    return [{**kind, "arm": arm, "round": number, "tokens_per_s": rate} for number, rate in enumerate(rates)]


def test_each_pair_of_arms_has_its_own_ratio():
    rows = [
        *pair({"pair": "base"}, arms.SERVICE, 90, 95, 80),
        *pair({"pair": "base"}, arms.VLLM, 100, 100, 100),
        *pair({"pair": "tracing"}, arms.SERVICE, 50),
        *pair({"pair": "tracing"}, arms.UNTRACED, 40),
    ]
    assert arms.figures(rows) == {
        "vs_vllm": 0.9, "vs_vllm_least": 0.8, "vs_vllm_most": 0.95,
        "tracing_ratio": 1.25, "tracing_ratio_least": 1.25, "tracing_ratio_most": 1.25,
    }  # fmt: skip


def test_adapters_figures_are_of_their_own_kind_of_row():
    quantiles, memory = {"p50": 1.0, "p95": 3.0, "p99": 4.0}, {"service_mb": 300, "engine_mb": 900}
    rows = [
        *pair({"kind": "some"}, adapters.ONE, 100),
        *pair({"kind": "some"}, adapters.SOME, 90),
        *pair({"kind": "some"}, adapters.STOCK, 45),
        *pair({"kind": "many"}, adapters.ONE, 100),
        *pair({"kind": "many"}, adapters.MANY, 50),
        {"kind": "steady", "tokens_per_s": 70, "first_text_s": quantiles, "hit_rate": 0.8, **memory},
        {"kind": "cold", "cold_s": quantiles, "warm_s": {"p95": 1.5}},
        {"kind": "published", "seconds": quantiles},
    ]  # fmt: skip
    found = adapters.figures(rows)
    assert (found["adapters64_ratio"], found["vs_vllm_serve"], found["adapters1000_ratio"]) == (0.9, 2.0, 0.5)
    assert (found["adapters1000_first_text_p99_s"], found["adapters1000_hit_rate"]) == (4.0, 0.8)
    assert (found["adapters1000_memory_mb"], found["cold_warm_p95"], found["publish_to_first_token_s"]) == (1200, 2, 1)


def told(tenant: int, tokens: int, end: float, code: str = "") -> Told:
    return Told(Ask("", 9, tenant=tenant), [end / 2], end, 3, tokens, code)


def test_what_is_served_after_everybody_asked_does_not_count_for_fairness():
    tolds = [
        told(fair.SMALL, 10, 1),
        told(fair.LARGE, 30, 2),
        told(fair.LARGE, 99, 6),
        told(fair.LARGE, 0, 1, "QUEUE_FULL"),
    ]
    found = fair._served(tolds, 5)
    assert found["tokens"] == {"small": 10, "large": 30}
    assert (found["jain"], found["asked"], found["sent_away"]) == (0.8, [1, 3], [0, 1])
    with pytest.raises(RuntimeError, match="nothing was answered"):
        fair._served(tolds, 0.5)


def test_the_small_tenants_times_are_taken_together_over_rounds():
    rows = [
        {"kind": "alone", "small_first_text": [1.0, 1.0]},
        {"kind": "beside", "small_first_text": [1.5]},
        {"kind": "alone", "small_first_text": [1.0]},
        {"kind": "beside", "small_first_text": [3.0, 1.5]},
        {"kind": "both", "jain": 0.97},
        {"kind": "both", "jain": 0.99},
    ]
    found = fair.figures(rows)
    assert (found["jain"], found["jain_least"], found["small_tenant_requests"]) == (0.98, 0.97, 3)
    assert (found["small_tenant_p50_ratio"], found["small_tenant_p99_ratio"]) == (1.5, 2.97)


def test_a_replay_counts_tokens_and_whole_answers():
    rows = [{"tokens": 10, "matched": 10}, {"tokens": 30, "matched": 29}]
    assert replayed.figures(rows) == {"replay_match": 0.975, "replay_answers_match": 0.5, "replay_answers": 2}


def trace(response: str, digest: str = "d", fee: int = 1) -> SimpleNamespace:
    return SimpleNamespace(response=response, fee=fee, digest=lambda: digest)


@pytest.mark.parametrize(
    ("traces", "lost", "doubled"),
    (
        ([trace("a"), trace("b")], 0, 0),
        ([trace("a")], 1, 0),
        ([trace("a"), trace("b", "another")], 1, 0),
        ([trace("a"), trace("b", fee=2)], 1, 0),
        ([trace("a"), trace("b"), trace("b")], 0, 1),
        ([trace("a"), trace("b"), trace("c")], 0, 1),
    ),
    ids=("as it was told", "one is gone", "another text", "another fee", "one twice", "one that nobody was told"),
)
def test_what_is_lost_and_what_is_doubled(traces, lost, doubled):
    books = Books({"a": ("d", 1), "b": ("d", 1)})
    assert crash.wrong(books, traces) == {"lost": lost, "doubled": doubled}


def test_an_account_that_contradicts_an_earlier_one_counts_as_doubled():
    assert crash.wrong(Books({"a": ("d", 1)}, contradicted=1), [trace("a")])["doubled"] == 1


def test_the_slope_is_an_hours_and_leaves_the_beginning_out():
    samples = [{"seconds": 60.0 * n, "service_mb": 500.0 if n < 10 else 300 + n} for n in range(40)]
    assert soak.slope(samples, "service_mb") == pytest.approx(60)
    assert soak.slope(samples[:1], "service_mb") == 0


def test_the_picture_has_a_panel_for_each_part_even_where_it_was_not_measured():
    few = plots.picture({}, [])
    rows = [
        {"part": "fair", "kind": "alone", "small_first_text": [1.0, 2.0]},
        {"part": "soak", "kind": "sample", "seconds": 60, "service_mb": 300, "engine_mb": 900},
        {"part": "adapters", "kind": "published", "seconds": {"p50": 1, "p99": 2}},
    ]
    more = plots.picture({"vs_vllm": 0.9, "vs_vllm_least": 0.8, "vs_vllm_most": 1.0}, rows)
    assert few[:8] == more[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(more) > len(few)
