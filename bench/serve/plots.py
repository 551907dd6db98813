"""The picture: ratios beside what was asked of them, adapters, the small tenant, memory over time."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.serve.load import Rows

OURS, THEIRS, ASKED = "#c1440e", "#4a6fa5", "#1a1a1a"
RATIOS = {
    "vs_vllm": ("service / vLLM", 0.90),
    "vs_vllm_adapter": ("the same, one adapter", None),
    "tracing_ratio": ("tracing on / off", 0.97),
    "adapters64_ratio": ("some adapters / one", 0.70),
    "adapters1000_ratio": ("many adapters / one", None),
    "vs_vllm_serve": ("service / vllm serve", None),
}
"""By figure: what it is called, and the least that was asked for."""


def picture(figures: Mapping[str, float], rows: Rows) -> bytes:
    """PNG; a panel is empty where its part was not measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _ratios(axes[0, 0], figures)
    _adapters(axes[0, 1], [row for row in rows if row["part"] == "adapters"])
    _small(axes[1, 0], [row for row in rows if row["part"] == "fair"])
    _memory(axes[1, 1], [row for row in rows if row["part"] == "soak" and row["kind"] == "sample"])
    for axis in axes.flat:
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _ratios(axis: Any, figures: Mapping[str, float]) -> None:
    there = [name for name in RATIOS if name in figures][::-1]
    for place, name in enumerate(there):
        axis.plot([figures[f"{name}_least"], figures[f"{name}_most"]], [place, place], color=OURS, linewidth=3)
        axis.plot(figures[name], place, "o", color=OURS)
        if (asked := RATIOS[name][1]) is not None:
            axis.plot(asked, place, "|", color=ASKED, markersize=16)
    axis.set_yticks(range(len(there)), [RATIOS[name][0] for name in there], fontsize=8)
    axis.set_title("tokens a second, as a ratio: median and range over rounds; | what was asked", fontsize=9)


def _adapters(axis: Any, rows: Rows) -> None:
    kinds = {row["kind"]: row for row in rows}
    bars: list[tuple[str, dict[str, float]]] = []
    if "cold" in kinds:
        bars += [("first use", kinds["cold"]["cold_s"]), ("second use", kinds["cold"]["warm_s"])]
    if "published" in kinds:
        bars.append(("from publishing on", kinds["published"]["seconds"]))
    if "steady" in kinds:
        bars.append(("many, steady load", kinds["steady"]["first_text_s"]))
    for place, (_, seconds) in enumerate(bars):
        axis.bar(place, seconds["p50"], color=OURS, width=0.6)
        axis.plot([place, place], [seconds["p50"], seconds["p99"]], color=ASKED, linewidth=0.9)
    axis.set_xticks(range(len(bars)), [name for name, _ in bars], fontsize=8)
    axis.set_title("seconds to the first text: median, and to p99", fontsize=9)


def _small(axis: Any, rows: Rows) -> None:
    for kind, colour in (("alone", THEIRS), ("beside", OURS)):
        seconds = sorted(s for row in rows if row["kind"] == kind for s in row["small_first_text"])
        if seconds:
            label = "alone" if kind == "alone" else "beside one who asks ten times as much"
            axis.step(seconds, np.arange(1, len(seconds) + 1) / len(seconds), color=colour, label=label, where="post")
            axis.legend(fontsize=8, frameon=False, loc="lower right")
    axis.set_title("the small tenant: part of its answers that began within so many seconds", fontsize=9)


def _memory(axis: Any, samples: Rows) -> None:
    minutes = [row["seconds"] / 60 for row in samples]
    for key, label, colour in (("service_mb", "service", OURS), ("engine_mb", "engine", THEIRS)):
        if samples:
            axis.plot(minutes, [row[key] for row in samples], color=colour, label=label)
            axis.set_ylim(bottom=0)
            axis.legend(fontsize=8, frameon=False, loc="lower right")
    axis.set_title("soak: memory in MB, by minutes", fontsize=9)
