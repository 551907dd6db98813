"""Whether a published vector is what training again gave: byte for byte, or as nearly as honest machines come.

Two machines of one kind give the same bytes.  Two kinds sum in another order, round otherwise, and end a little apart;
how far was measured (`python -m bench retraining`).  Knows no files and no training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openledger.influence.quantize import Quantised, QuantizeError, quantise

Floats = npt.NDArray[np.floating]

WEIGHTS = 0.05
"""As far off may the weights' way through a training be, of its length, where the machine is another one."""
ROW = 0.05
"""The same of a row of an index, beyond what eight bits make: of following somebody, or leaving somebody out."""
LOSS = 1e-3
"""And of a mean held-out loss, in nats a token."""


@dataclass(frozen=True)
class Found:
    """Something published, beside what training again gave.

    what: its name.  wrong: why it cannot be honest; empty where it can.  distance, cosine: see `Likeness`; none where
    nothing was measured.
    """

    what: str
    same: bool
    wrong: str = ""
    distance: float | None = None
    cosine: float | None = None

    def words(self) -> str:
        """For people."""
        if self.wrong:
            return f"{self.what}: {self.wrong}"
        if self.same:
            return f"{self.what}: byte for byte"
        return f"{self.what}: not the same bytes, as near as another machine comes{_far(self.distance, self.cosine)}"


def vector(what: str, published: Quantised, made: Floats, *, exact: bool) -> Found:
    """A row of an index [P].  exact: this machine is known to give the same bytes as the one that made it."""
    try:
        like = likeness(published, made)
    except QuantizeError as error:
        return Found(what, same=False, wrong=f"training again gives what no index can hold ({error})")
    far = (like.distance, like.cosine)
    if exact and not like.same:
        wrong = (
            f"{like.differing} of its {like.entries} entries are others{_far(*far)}, though this machine comes to "
            "the adapter's very bytes: it is not what training gave, or not made on the adapter's kind of machine"
        )
        return Found(what, same=False, wrong=wrong, distance=far[0], cosine=far[1])
    wrong = f"it is not what training gives{_far(*far)}" if like.distance > ROW + like.rounding else ""
    return Found(what, like.same, wrong, *far)


def weights(what: str, published: Floats, made: Floats, start: Floats, *, same: bool) -> Found:
    """An adapter's [P], by its way from the weights [P] that it began with.  same: its file is, byte for byte."""
    far = apart(published - start, made - start)
    wrong = f"they are not what training comes to{_far(*far)}" if far[0] > WEIGHTS else ""
    return Found(what, same, wrong, *far)


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

    @property
    def same(self) -> bool:
        """Byte for byte."""
        return self.differing == 0


def likeness(published: Quantised, made: Floats) -> Likeness:
    """made: [P], before it is rounded to eight bits.  Raises `QuantizeError` where it is not finite, or too long."""
    rounded = quantise(made, published.sizes)
    differing = int((rounded.mantissas != published.mantissas).sum() + (rounded.exponents != published.exponents).sum())
    distance, cosine = apart(published.to_float(), made)
    entries = len(rounded.mantissas) + len(rounded.exponents)
    return Likeness(entries, differing, distance, cosine, apart(rounded.to_float(), made)[0])


def apart(published: Floats, made: Floats) -> tuple[float, float]:
    """Distance and cosine of two vectors [P], as `Likeness` has them."""
    one, other = published.astype(np.float64), made.astype(np.float64)
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    if not lengths[1]:
        return (np.inf, 0.0) if lengths[0] else (0.0, 1.0)
    cosine = float(one @ other) / (lengths[0] * lengths[1]) if lengths[0] else 0.0
    return float(np.linalg.norm(one - other)) / lengths[1], cosine
