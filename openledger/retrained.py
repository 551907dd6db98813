"""Whether a published vector is what training again gave: byte for byte, or as nearly as honest machines come.

Two machines of one kind give the same bytes.  Two kinds sum in another order, round otherwise, and end a little apart;
how far was measured (`python -m bench retraining`).  Knows no files and no training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openledger.influence.quantize import Quantised, QuantizeError, quantise

Floats = npt.NDArray[np.floating]

WEIGHTS = 0.05
"""As far off may the weights' way through a training be, of its length, where the machine is another one."""
ROW = 0.05
"""The same of a row of an index, beyond what eight bits make: of following somebody, or leaving somebody out."""
LOSS = 1e-4
"""And of a mean held-out loss, in nats a token."""
MEASURED = 0.02
"""A row that is further off than that is further than any was that an honest machine made: it is told, not wrong."""
TIMES = 10
"""So is one that is so many times as far off as the run's rows are: another machine puts all rows off alike."""
SAME, NEAR = 1e-3, 1e-4
"""Where no more than this share of entries (`NEAR`) differs, a machine is as good as the same: a row that is further
off than that length (`SAME`), than a quarter of what eight bits make, and than two entries by a step, is wrong."""


@dataclass(frozen=True)
class Found:
    """Something published, beside what training again gave.

    what: its name.  wrong: why it cannot be honest; empty where it can.  odd: why somebody should look again; else
    empty.  distance, cosine: see `Likeness`; none where nothing was measured.
    """

    what: str
    same: bool
    wrong: str = ""
    distance: float | None = None
    cosine: float | None = None
    odd: str = ""

    def words(self) -> str:
        """For people."""
        if self.wrong or self.odd:
            return f"{self.what}: {self.wrong or self.odd}"
        if self.same:
            return f"{self.what}: byte for byte"
        return f"{self.what}: not the same bytes, as near as another machine comes{_far(self.distance, self.cosine)}"


@dataclass(frozen=True)
class Machine:
    """How the machine that trained again computes, by what it came to, beside the one that made what is published.

    exact: the run's weights are the same.  alike: its rows as good as are.  usual: how far off they are, beyond
    rounding; None where nothing is known of them.
    """

    exact: bool = False
    alike: bool = False
    usual: float | None = None

    @classmethod
    def of(cls, likes: Iterable[Likeness], *, exact: bool) -> Machine:
        """By the run's rows, at their lower quartile: lies about some do not move it."""
        known = [like for like in likes if like.length]
        if not known:
            return cls(exact, exact)
        share, usual = (sorted(some)[len(known) // 4] for some in zip(*map(_off, known), strict=True))
        return cls(exact, exact or share <= NEAR, usual)


def _off(like: Likeness) -> tuple[float, float]:
    return like.differing / like.entries, like.beyond


def vector(what: str, published: Quantised, made: Floats, machine: Machine, slack: float = 0.0) -> Found:
    """A row of an index [P].  slack: a length that it may be off on any machine but the very same."""
    try:
        like = likeness(published, made)
    except QuantizeError as error:
        return Found(what, same=False, wrong=f"training again gives what no index can hold ({error})")
    return row(what, like, machine, slack / like.length if like.length else 0.0)


def row(what: str, like: Likeness, machine: Machine, slack: float = 0.0) -> Found:
    """The same, once it is measured.  slack: of its length."""
    far = (like.distance, like.cosine)
    if machine.exact and not like.same:
        wrong = (
            f"{like.differing} of its {like.entries} entries are others{_far(*far)}, though this machine comes to "
            "the adapter's very weights: it is not what training gave, or not made on the adapter's kind of machine"
        )
        return Found(what, same=False, wrong=wrong, distance=far[0], cosine=far[1])
    if like.distance > ROW + like.rounding:
        return Found(what, like.same, f"it is not what training gives{_far(*far)}", *far)
    off = like.beyond if like.rounding else like.distance  # of two that are rounded, alike machines round alike
    if machine.alike and off > max(SAME, like.grain / 4, 2 * like.step, slack):
        told = f"it is not what training gives on a machine like this{_far(*far)}, and the run's rows nearly all are"
        return Found(what, like.same, told, *far)
    usual = MEASURED if machine.usual is None else max(2 * like.grain, TIMES * machine.usual, slack)
    if like.beyond > min(MEASURED, usual):
        told = f"it is {like.beyond:.2%} off beyond rounding, further than others are or were measured{_far(*far)}"
        return Found(what, like.same, "", far[0], far[1], told)
    return Found(what, like.same, "", *far)


def weights(what: str, published: Floats, made: Floats, start: Floats, machine: Machine) -> Found:
    """An adapter's [P], by its way from the weights [P] that it began with."""
    far = apart(published - start, made - start)
    wrong = f"they are not what training comes to{_far(*far)}" if far[0] > WEIGHTS else ""
    if not wrong and machine.alike and far[0] > SAME:
        wrong = f"they are off{_far(*far)}, and the rows are those that this machine makes"
    return Found(what, machine.exact, wrong, *far)


def loss(what: str, published: float, made: float, *, exact: bool) -> Found:
    """Nats a token."""
    off = abs(published - made)
    wrong = f"{published:.6f} nats a token is published, measured again it is {made:.6f}"
    return Found(what, published == made, "" if off <= (0 if exact else LOSS) else wrong)  # not a number is wrong


def _far(distance: float | None, cosine: float | None) -> str:
    return "" if distance is None else f" ({distance:.2%} of its length off, cosine {cosine:.4f})"


@dataclass(frozen=True)
class Likeness:
    """Of a published vector [P] with one that was made again."""

    entries: int
    """int8, a scale a tensor included."""
    differing: int
    """Of them, those that are others."""
    distance: float
    """Euclidean, of the length of the one made again; infinite where that has none and the published one has."""
    cosine: float
    """Of the angle between them; 1 where neither has a length."""
    rounding: float
    """The distance that eight bits alone make, of the one made again."""
    grain: float
    """About what eight bits make of any vector with its largest entries: as if each lay anywhere within its step."""
    step: float
    """The coarsest of its tensors' steps."""
    length: float
    """Of the one made again."""

    @property
    def same(self) -> bool:
        """Byte for byte."""
        return self.differing == 0

    @property
    def beyond(self) -> float:
        """The distance without what eight bits make: of the published one, and of the other where that is rounded."""
        noise = self.rounding**2 if self.rounding else 2 * self.grain**2
        return float(np.sqrt(max(0.0, self.distance**2 - noise)))


def likeness(published: Quantised, made: Floats) -> Likeness:
    """made: [P], before it is rounded to eight bits.  Raises `QuantizeError` where it is not finite, or too long."""
    rounded = quantise(made, published.sizes)
    differing = int((rounded.mantissas != published.mantissas).sum() + (rounded.exponents != published.exponents).sum())
    distance, cosine = apart(published.to_float(), made)
    entries = len(rounded.mantissas) + len(rounded.exponents)
    rounding, length = apart(rounded.to_float(), made)[0], float(np.linalg.norm(made))
    steps = _steps(rounded) / length if length else np.zeros(0)
    grain = float(np.linalg.norm(steps)) / np.sqrt(12)
    return Likeness(entries, differing, distance, cosine, rounding, grain, float(steps.max(initial=0.0)), length)


def _steps(row: Quantised) -> npt.NDArray[np.float64]:
    """Of each entry [P]; none in a tensor that is 0."""
    parts = np.split(row.mantissas, np.cumsum(row.sizes)[:-1])
    some = np.array([part.any() for part in parts])
    return np.repeat(some * np.ldexp(1.0, row.exponents.astype(np.int32)), row.sizes)


def apart(published: Floats, made: Floats) -> tuple[float, float]:
    """Distance and cosine of two vectors [P], as `Likeness` has them."""
    one, other = published.astype(np.float64), made.astype(np.float64)
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    if not lengths[1]:
        return (np.inf, 0.0) if lengths[0] else (0.0, 1.0)
    cosine = float(one @ other) / (lengths[0] * lengths[1]) if lengths[0] else 0.0
    return float(np.linalg.norm(one - other)) / lengths[1], cosine
