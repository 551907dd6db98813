"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Of all parts; counts of requests unless a field says what else."""

    base: str = "smollm2-135m-instruct"
    """Or "tiny": a random model of four layers, made on the spot."""
    engine: str = "vllm"
    dtype: str = "float32"
    """What all sides compute in: on a CPU, the service's default."""
    rounds: int = 3
    """Of each pair of arms, which take turns; medians are over these."""
    running: int = 16
    """Answers that are generated at once."""
    tokens: int = 32
    """Of the longest answer."""
    requests: int = 64
    """Of one round of `arms`."""
    tracing_rounds: int = 5
    some: int = 64
    """Adapters of the comparison with one."""
    some_slots: int = 8
    some_requests: int = 96
    many: int = 1000
    """Adapters that are published."""
    many_slots: int = 16
    in_memory: int = 256
    """Of these, as many as the engine may keep."""
    steady_requests: int = 320
    cold: int = 40
    """Adapters that are asked for the first time, and then again."""
    fair_seconds: float = 30.0
    """Of each load of two tenants."""
    replayed: int = 96
    kills: int = 50
    crash_tokens: int = 24
    soak_seconds: float = 900.0
    sample_seconds: float = 10.0
    seed: int = 0


FULL = Size()
QUICK = Size(
    base="tiny",
    engine="transformers",
    rounds=1,
    running=4,
    tokens=12,
    requests=8,
    tracing_rounds=1,
    some=4,
    some_slots=2,
    some_requests=8,
    many=12,
    many_slots=4,
    in_memory=6,
    steady_requests=12,
    cold=3,
    fair_seconds=3.0,
    replayed=8,
    kills=3,
    crash_tokens=8,
    soak_seconds=8.0,
    sample_seconds=1.0,
)
"""Through the same code, in little time; its numbers mean nothing."""
