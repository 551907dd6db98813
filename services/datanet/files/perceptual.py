"""By what an image is known again after it was saved anew, scaled, turned, mirrored or cut.

PDQ (256 bits, https://github.com/facebook/ThreatExchange, library pdqhash) and pHash (64 bits of the low frequencies of
a DCT, Zauner 2010).  Two images are held for the same by few differing bits; how few is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIDE = 512  # pixels; PDQ itself looks at 64
_QUALITY = 50
"""Below it an image has too little in it for PDQ, as its authors say."""
_SCALES = (0.9, 0.75, 0.6)
_PLACES = (0.0, 0.5, 1.0)
_DCT, _KEPT = 32, 8


@dataclass(frozen=True)
class Codes:
    """See `Picture`."""

    pdq: tuple[bytes, ...]
    crops: tuple[bytes, ...]
    phash: bytes


def codes(image: Any) -> Codes:
    """Of a `PIL.Image` in RGB, upright."""
    import pdqhash

    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    turned, quality = pdqhash.compute_dihedral(np.asarray(small))
    if quality < _QUALITY:
        return Codes((), (), phash(image))
    crops = (pdqhash.compute(np.ascontiguousarray(part)) for part in _parts(np.asarray(small)))
    return Codes(
        tuple(_packed(bits) for bits in turned),
        tuple(_packed(bits) for bits, good in crops if good >= _QUALITY),
        phash(image),
    )


def phash(image: Any) -> bytes:
    """8 bytes: which of the 64 lowest frequencies are above their median."""
    gray = np.asarray(image.convert("L").resize((_DCT, _DCT)), dtype=np.float64)
    places = np.arange(_DCT)
    waves = np.cos(np.pi / _DCT * (places[None, :] + 0.5) * places[:_KEPT, None])
    low = waves @ gray @ waves.T
    return np.packbits(low > np.median(low)).tobytes()


def _parts(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Windows of three sizes at nine places each."""
    height, width = pixels.shape[:2]
    for scale in _SCALES:
        tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
        for down in _PLACES:
            for right in _PLACES:
                top, left = round((height - tall) * down), round((width - wide) * right)
                yield pixels[top : top + tall, left : left + wide]


def _packed(bits: Any) -> bytes:
    return np.packbits(np.asarray(bits, dtype=bool)).tobytes()
