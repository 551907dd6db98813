"""From scores and truth to figures, rows and a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.lds.followed import SAMPLES
from bench.lds.study import Floats, Study, Truth
from openledger.influence import agreement

PAID = "shadow, as published (int8)"
SERVED = "shadow, as the service scores"
CEILING = "leave-one-out, forward"
KEYS = {
    "lds_inrun": PAID,
    "lds_service": SERVED,
    "lds_inrun_second_order": "shadow, second order",
    "lds_inrun_halves": "shadow halves, 64",
    "lds_inrun_halves_forward": "shadow halves, 64, forward",
    "lds_inrun_2_samples": "shadow, 2 samples",
    "lds_inrun_1_sample": "shadow, 1 sample",
    "lds_inrun_1_sample_of_half": "shadow, 1 sample of half",
    "lds_inrun_1_sample_of_4_steps": "shadow, 1 sample of 4 steps",
    "lds_inrun_naive": "in-run naive",
    "lds_inrun_exact": "in-run exact",
    "lds_counterfactual": "leave-one-out, vectors",
    "lds_fitted": "fitted vectors, 32",
    "lds_forward": "forward regression, 32",
    "lds_ceiling": CEILING,
    "lds_datainf": "datainf",
    "lds_cosine": "gradient-cosine",
    "lds_adam_cosine": "adam-cosine",
    "lds_bm25": "bm25",
    "lds_embedding": "embedding",
    "lds_popularity": "popularity",
    "lds_shuffled": "shuffled",
}


def rows(study: Study, truth: Truth, scores: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """One a method: its agreement with 95 % intervals over queries and retrained models, both redrawn."""
    owners = np.repeat(np.arange(study.setting.contributors), study.setting.queries)
    result = []
    for name, each in scores.items():
        subsets = agreement.over_queries_and_points(agreement.subset_scores(each, truth.masks), truth.outcomes.T)
        people = agreement.over_queries_and_points(each, truth.rises)
        result.append(
            {
                "setting": study.setting.name,
                "method": name,
                "lds": _rounded(subsets),
                "leave_one_out": _rounded(people),
                "owner_first": round(float((agreement.owner_rank(each, owners) == 1).mean()), 4),
            }
        )
    return result


def _rounded(interval: agreement.Interval) -> list[float]:
    return [round(value, 4) for value in (interval.mean, interval.low, interval.high)]


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures that targets are set for: of the first setting, and the worst of all settings where it says so."""
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    found = {(row["setting"], row["method"]): row for row in rows}
    first = settings[0]
    result = {key: found[first, name]["lds"][0] for key, name in KEYS.items() if (first, name) in found}
    result["loco_best"] = found[first, PAID]["leave_one_out"][0]
    result["loco_second_order"] = found[first, "shadow, second order"]["leave_one_out"][0]
    result["lds_inrun_worst"] = min(found[setting, PAID]["lds"][0] for setting in settings)
    result["loco_worst"] = min(found[setting, PAID]["leave_one_out"][0] for setting in settings)
    ratios = [found[setting, PAID]["lds"][0] / found[setting, CEILING]["lds"][0] for setting in settings]
    result["lds_inrun_of_ceiling"] = round(min(ratios), 4)
    result["samples"] = SAMPLES
    both = [
        [found[setting, name]["lds"][0] for name in (PAID, SERVED)]
        for setting in settings
        if (setting, SERVED) in found
    ]
    if both:
        result["lds_service_less_library"] = round(max(abs(ours - theirs) for ours, theirs in both), 4)
    return result


def picture(rows: Sequence[Mapping[str, Any]], setting: str) -> bytes:
    """PNG: both agreements of every method in one setting, best LDS on top, with their intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = sorted((row for row in rows if row["setting"] == setting), key=lambda row: row["lds"][0])
    figure = Figure(figsize=(9, 0.26 * len(chosen) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, key, title in zip(
        axes, ("lds", "leave_one_out"), ("LDS (half of the contributors)", "leave one contributor out"), strict=True
    ):
        values = np.array([row[key] for row in chosen])
        ours = [row["method"].startswith("shadow") for row in chosen]
        colours = ["#c1440e" if own else "#8a8a8a" for own in ours]
        axis.barh(range(len(chosen)), values[:, 0], color=colours, height=0.7)
        spread = np.abs(values[:, 1:].T - values[:, 0])
        axis.errorbar(values[:, 0], range(len(chosen)), xerr=spread, fmt="none", ecolor="#1a1a1a", elinewidth=0.8)
        axis.set_xlim(min(0.0, float(values.min())) - 0.02, 1.02)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("rank correlation with really retraining", fontsize=9)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_ylim(-0.7, len(chosen) - 0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(chosen)), [row["method"] for row in chosen], fontsize=8)
    figure.suptitle(f"Agreement of attribution with retraining: {setting}", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
