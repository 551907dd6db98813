"""Contribution vectors from models that were really trained without some of the contributors.

Each such model is a point in parameter space and a membership mask. Two ways from them to vectors in the coordinates
of the full model: leaving out one contributor at a time gives its displacement directly; random halves give all of them
by ridge regression on the masks, as in datamodels (Ilyas et al., arXiv:2202.00622) but of parameters and not of
outputs. The former says what is lost without c alone; the latter averages over who else is there (the Banzhaf value of
the displacement). Pure algebra: this module knows no training.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RIDGE = 1.0
"""On centred masks, whose entries are about half: with K models a contributor's own column has length K / 4."""


def fit(masks: npt.NDArray[np.bool_], values: npt.NDArray[np.floating], ridge: float = RIDGE) -> Floats:
    """What each contributor's presence adds: bool [K, C] and values [K, D] of the K models -> [C, D].

    Values may be parameters, or outputs such as the log-likelihoods of D answers. Least squares with an intercept and
    ``ridge`` times the squared norm of the coefficients. Raises ValueError for fewer than two models or other shapes.
    """
    if masks.ndim != 2 or len(masks) < 2 or len(masks) != len(values):
        raise ValueError(f"masks [K, C] and values [K, D] of at least two models are needed, got {masks.shape}")
    x = masks.astype(np.float64) - masks.mean(0)
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T)
    result: Floats = weights @ (values - values.mean(0))
    return result
