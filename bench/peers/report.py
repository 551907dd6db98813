"""From arms to rows, figures and a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.lds import report
from bench.lds.study import Study, Truth
from bench.peers.arm import Arm, Failure

PAID = ("openledger", "shadow trajectories, as paid by")
OURS, THEIRS, BASELINE = "#c1440e", "#4a6fa5", "#8a8a8a"


def row(study: Study, truth: Truth, arm: Arm | Failure) -> dict[str, Any]:
    """Agreement as in the LDS study, with 95 % intervals, and costs; or why there are none."""
    named = {"setting": study.setting.name, "library": arm.library, "method": arm.method}
    if isinstance(arm, Failure):
        return named | {"error": arm.error}
    [agreed] = report.rows(study, truth, {arm.method: arm.scores})
    return named | {
        "lds": agreed["lds"],
        "leave_one_out": agreed["leave_one_out"],
        "prepare_cpu_s": round(arm.prepare_seconds, 2),
        "answer_cpu_s": round(arm.answer_seconds, 3),
        "bytes_kept": arm.kept,
        "bytes_a_record": round(arm.kept / len(study.training)),
        "grows_with": arm.grows_with,
        "peak_mb": round(arm.megabytes),
        "note": arm.note,
    }


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of what is paid by, and of the best of each library beside it."""
    found: dict[str, float] = {}
    for row in rows:
        if "error" in row:
            continue
        library = row["library"].split(" ")[0].replace("-", "_")
        if (row["library"], row["method"]) == PAID:
            found |= {"lds_paid": row["lds"][0], "loco_paid": row["leave_one_out"][0]}
        for key, agreement in ((f"lds_best_{library}", "lds"), (f"loco_best_{library}", "leave_one_out")):
            found[key] = max(found.get(key, -1.0), row[agreement][0])
    return found


def picture(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """PNG: both agreements and bytes a record of every method, best LDS on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = sorted((row for row in rows if "error" not in row), key=lambda row: row["lds"][0])
    figure = Figure(figsize=(11, 0.28 * len(chosen) + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, sharey=True, width_ratios=(3, 3, 2))
    colours = [_colour(row) for row in chosen]
    for axis, key, title in zip(
        axes[:2], ("lds", "leave_one_out"), ("LDS (half of the contributors)", "leave one contributor out"), strict=True
    ):
        values = np.array([row[key] for row in chosen])
        axis.barh(range(len(chosen)), values[:, 0], color=colours, height=0.7)
        spread = np.abs(values[:, 1:].T - values[:, 0])
        axis.errorbar(values[:, 0], range(len(chosen)), xerr=spread, fmt="none", ecolor="#1a1a1a", elinewidth=0.8)
        axis.set_xlim(min(0.0, float(values.min())) - 0.02, 1.02)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("rank correlation with really retraining", fontsize=9)
    sizes = [row["bytes_a_record"] for row in chosen]
    axes[2].scatter([max(size, 1) for size in sizes], range(len(chosen)), color=colours, s=22)
    axes[2].set_xscale("log")
    axes[2].set_title("bytes kept, a record", fontsize=10)
    axes[2].set_xlabel("(1: nothing is kept)", fontsize=9)
    for axis in axes:
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_ylim(-0.7, len(chosen) - 0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(chosen)), [f"{row['library']}: {row['method']}" for row in chosen], fontsize=8)
    figure.suptitle(f"The same answers scored by ours and by others: {chosen[0]['setting']}", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _colour(row: Mapping[str, Any]) -> str:
    if (row["library"], row["method"]) == PAID:
        return OURS
    return BASELINE if row["library"].startswith("openledger") else THEIRS
