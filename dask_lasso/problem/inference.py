"""The debiased lasso: estimates whose errors are known, from moments alone.

The lasso w shrinks. ``w + M X^T (y - X w)`` does not, where row j of M is the direction in which
column j differs from the others; what is left of the bias is small where the truth is
sparse (Zhang & Zhang 2014; van de Geer, Buhlmann, Ritov & Dezeure 2014).
"""

from __future__ import annotations

import numpy as np

from .gram import solve
from .linear import LeastSquares, unit_scale
from .moments import Moments
from .penalties import L1

# Rows per column from which on all columns are told apart exactly, as by least squares: that
# costs at most a quarter of variance, and leaves no bias.
_ENOUGH = 5
# Largest correlation that a direction may keep with another column, in units of sqrt(2 log k),
# that of noise: the smaller, the less bias and the more variance.
_LEFT = 0.2
_MOST_STEPS = 10


def are_exact(moments: Moments, n_rows: float) -> bool:
    """Whether directions are exact: the estimates are those of least squares then."""
    if n_rows < _ENOUGH * len(moments.gram):
        return False
    return _least_squares(moments).is_unique


def directions(moments: Moments, n_rows: float) -> np.ndarray:
    """Rows m_j (k, k) with ``m_j^T G e_j = 1``, and ``m_j^T G e_l`` small for all others.

    With enough rows the inverse of the Gram matrix G; else of the residual of a lasso
    of column j on the others, whose penalty is relative to the size of that residual: of
    centred moments. Columns have to vary.
    """
    if are_exact(moments, n_rows):
        return _least_squares(moments).inverse()
    scale = unit_scale(np.diagonal(moments.gram))
    unit = moments.gram * np.outer(scale, scale)
    found = np.array([_direction(unit, column, n_rows) for column in range(len(unit))])
    return scale[:, np.newaxis] * found.reshape(unit.shape) * scale


def _least_squares(moments):
    return LeastSquares(moments.gram, moments.x_mean, moments.weight)


def _direction(unit, column, n_rows):
    """The residual of a column on the others, in units of its product with the column."""
    k = len(unit)
    others = np.delete(np.arange(k), column)
    moments = Moments(
        unit[np.ix_(others, others)], unit[others][:, [column]], unit[[column], column], 1.0
    )
    size, coef = 1.0, None
    for _ in range(_MOST_STEPS):
        alpha = _LEFT * np.sqrt(2 * np.log(max(k, 2)) / n_rows) * size
        coef = solve(moments, L1(alpha), coef_init=coef).coef
        before, size = size, np.sqrt(float(moments.squared_residuals(coef)[0]))
        if size > 0.9 * before:
            break
    found = np.zeros(k)
    found[column], found[others] = 1.0, -coef[:, 0]
    product = found @ unit[column]
    return found / product if product > 0 else np.full(k, np.nan)  # a copy of another column


def debiased(moments: Moments, coef: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Debiased coefficients (k,) of the lasso's `coef` (k,), by `directions`."""
    # Sums about the means, and the means by themselves: about zero those of far columns have
    # lost the digits that these directions multiply.
    found = coef + rows @ (moments.xy[:, 0] - moments.gram @ coef)
    if moments.x_mean is None:
        return found
    mean = moments.y_mean[0] - moments.x_mean @ coef
    return found + moments.weight * mean * (rows @ moments.x_mean)


def variances(
    rows: np.ndarray, scatter: np.ndarray, weight: float, mean: np.ndarray | None
) -> np.ndarray:
    """``m_j^T meat m_j``, of shape (k,), where meat is ``scatter + weight mean mean^T``."""
    found = np.einsum("jk,jk->j", rows @ scatter, rows)
    return found if mean is None else found + weight * (rows @ mean) ** 2
