"""A training run as data and as pictures: losses, learning rate, and how far each contributor moved the weights.

Pictures are PNG bytes, drawn without a display and readable in grey.  This module knows no files, and not how anything
was trained.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it takes a second to load
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 24
_INK, _FAINT, _ACCENT = "#1a1a1a", "#b8b8b8", "#c1440e"


@dataclass(frozen=True)
class HeldOutPoint:
    step: int
    """Optimizer steps done: 0 is before training."""
    loss: float
    """Mean over held-out records, nats per token."""


@dataclass(frozen=True)
class Curves:
    """Step k of the run is at index k - 1."""

    losses: tuple[float, ...]
    """Mean over the step's batch, nats per token, before the step."""
    learning_rates: tuple[float, ...]
    held_out: tuple[HeldOutPoint, ...] = ()
    kept_step: int | None = None
    """After which step the adapter was taken, where that is not the last one."""

    def to_json(self) -> dict[str, Any]:
        """As canonical JSON can hold it; losses that are no finite number are null."""
        document = asdict(self)
        document["losses"] = [loss if math.isfinite(loss) else None for loss in self.losses]
        document["learning_rates"] = list(self.learning_rates)
        document["held_out"] = [
            {"step": point.step, "loss": point.loss if math.isfinite(point.loss) else None} for point in self.held_out
        ]
        return document


def smoothed(losses: Sequence[float], width: int) -> list[float]:
    """Means over ``width`` steps (odd), NaN where there are not as many around; passes over what is not finite."""
    result, reach = [math.nan] * len(losses), width // 2
    for i in range(reach, len(losses) - reach):
        window = [loss for loss in losses[i - reach : i + reach + 1] if math.isfinite(loss)]
        if window:
            result[i] = math.fsum(window) / len(window)
    return result


def draw_training(curves: Curves) -> bytes:
    """Loss, with held-out loss over it, above the learning rate.  PNG, 1200 x 750."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(7.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _draw_losses(above, curves)
    steps = range(1, len(curves.learning_rates) + 1)
    below.plot(steps, curves.learning_rates, color=_INK, linewidth=1.5, marker=_lonely(curves.learning_rates))
    below.set_ylabel("learning rate")
    below.set_ylim(bottom=0)
    below.set_xlabel("optimizer step")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    last = max(len(curves.losses), *(point.step for point in curves.held_out), 1)
    for axes in (above, below):
        _tidy(axes)
        axes.set_xlim(-0.02 * last, 1.02 * last)
    figure.align_ylabels()
    return _png(figure)


def draw_contributors(norms: Mapping[str, float], placebos: Sequence[float]) -> bytes:
    """How far each contributor moved the weights, the largest first, against contributors of pure noise.  PNG.

    norms: Euclidean norm of the contribution vector by name; placebos: the same of the placebos' vectors.
    """
    order = sorted(norms, key=lambda name: (-norms[name], name))
    shown, rest = order[:MOST_BARS], order[MOST_BARS:]
    figure = _figure(1.4 + 0.3 * max(len(shown), 2))
    axes = figure.subplots()
    axes.barh([_short(name) for name in shown], [norms[name] for name in shown], color="#a9bcd0", height=0.7)
    axes.invert_yaxis()
    axes.set_xlabel("length of the contribution vector")
    if rest:
        axes.set_title(f"the first {len(shown)} of {len(order)} contributors", fontsize=11, loc="left")
    if placebos:
        floor = math.sqrt(math.fsum(norm**2 for norm in placebos) / len(placebos))
        axes.axvline(floor, color=_ACCENT, linestyle="--", linewidth=1.5, label="noise (placebos)")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    _tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.ticklabel_format(axis="x", scilimits=(-2, 3), useMathText=True)
    axes.set_xlim(left=0)
    return _png(figure)


def _draw_losses(axes: Axes, curves: Curves) -> None:
    steps = range(1, len(curves.losses) + 1)
    width = max(1, len(curves.losses) // 20) | 1
    if width > 1:
        axes.plot(steps, curves.losses, color=_FAINT, linewidth=1, label="each step")
        name = f"mean of {width} steps"
    else:
        name = "training"
    line = smoothed(curves.losses, width)
    axes.plot(steps, line, color=_INK, linewidth=2, label=name, marker=_lonely(line))
    if curves.held_out:
        at = [point.step for point in curves.held_out]
        found = [point.loss for point in curves.held_out]
        axes.plot(at, found, color=_ACCENT, linestyle="--", marker="o", markersize=5, label="held-out records")
    if curves.kept_step is not None:
        axes.axvline(curves.kept_step, color=_INK, linestyle=":", linewidth=1.2, label="adapter taken here")
    axes.set_ylabel("loss (nats per token)")
    axes.legend(frameon=False, loc="upper right")


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, height), dpi=100)
    # Room for what is written around, in inches: a layout that measures it first draws everything twice.
    figure.subplots_adjust(1.5 / 12, 0.65 / height, 1 - 0.25 / 12, 1 - 0.4 / height)
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _lonely(values: Sequence[float]) -> str:
    """A line through one point is not to be seen; a mark is."""
    return "o" if len(values) == 1 else ""


def _short(name: str) -> str:
    return f"{name[:8]}…{name[-4:]}" if len(name) > 16 else name


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
