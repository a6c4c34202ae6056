"""Degrees of freedom of a fit."""

from __future__ import annotations

import numpy as np

from .linear import unit_scale
from .moments import Moments
from .penalties import L1


def degrees_of_freedom(problem: Moments, coef: np.ndarray, penalty: L1) -> float:
    """Degrees of freedom of one fit: the trace of its smoother on the active columns.

    The number of non-zero coefficients for the lasso (Zou, Hastie & Tibshirani 2007,
    theorem 1) that are at no bound, less with a ridge term.
    """
    active = np.flatnonzero(penalty.is_moving(coef[:, np.newaxis])[:, 0])
    if penalty.l2 == 0 or len(active) == 0:
        return float(len(active))
    gram = problem.about_zero().gram[np.ix_(active, active)]
    ridge = penalty.l2 * problem.weight * penalty.column_weights(len(coef))[active] ** 2
    scale = unit_scale(np.diagonal(gram))
    gram, ridge = gram * np.outer(scale, scale), ridge * scale**2
    return float(np.trace(np.linalg.lstsq(gram + np.diag(ridge), gram, rcond=None)[0]))
