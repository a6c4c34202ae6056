"""Two steps: weights from a first estimate, and least squares on the support of a lasso."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from .gram import solve
from .moments import Moments
from .penalties import L1

# Share of the largest first coefficient, in units of the columns, below which there is none.
_NOTHING = 1e-12


P = TypeVar("P")


def adapted(problem: Moments, penalty: P) -> P:
    """An adaptive penalty, with the weights that least squares of the same moments gives.

    ``1 / |w|`` for first coefficients w (Zou 2006), within the bounds, and of least norm
    where columns are combinations of others.
    """
    if not isinstance(penalty, L1) or not penalty.adaptive:
        return penalty
    if problem.xy.shape[1] > 1:
        raise ValueError(
            f"y has {problem.xy.shape[1]} targets, and penalty_weights='adaptive' are of one:"
            " fit each by itself."
        )
    norms = problem.norms
    size = np.abs(solve(problem, L1(0.0, box=penalty.box)).coef[:, 0]) * norms
    least = _NOTHING * size.max()
    weights = np.divide(norms, np.maximum(size, least), out=np.ones_like(norms), where=least > 0)
    weights = np.where(norms > 0, weights, 1.0)
    return replace(penalty, weights=weights * penalty.column_weights(len(norms)), adaptive=False)


def on_support(problem: Moments, penalty: L1, coefs: np.ndarray) -> np.ndarray:
    """Least squares, within the bounds, on the support of each column of `coefs` (k, n)."""
    found, known = np.zeros_like(coefs), {}
    for column, coef in enumerate(coefs.T):
        active = np.flatnonzero(coef)
        key = active.tobytes()
        if len(active) and key not in known:
            known[key] = solve(problem.of(active), penalty.of(active).at(0.0)).coef[:, 0]
        found[active, column] = known.get(key, 0.0)
    return found
